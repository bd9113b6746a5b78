/* Elman networks, GRUs and LSTMs from the first step to the last and back, on a processor with AVX-512.

   The products with x of all steps are there already. A step adds the product of the state before with the recurrent weight,
   which comes as panels of `vectors` times 16 columns (`products.h`), and turns the sums into what the backward pass needs and the state after.
   With `pairs` these products are of bfloat16 and sum up in float32; the state and all else stay as they are.
   Rows lie packed, the longest first: step t has rows 0 .. rows[t]-1. They know nothing of each other, so a thread takes some of
   them through all steps and waits for nobody. */

#include "threads.h" /* before the headers of the system */

#include <string.h>

#include "products.h"

enum { TANH, RELU, SIGMOID, GRU, LSTM };

/* Gates stand in the order r, z, n of a GRU and i, f, g, o of an LSTM, each of `cells` numbers; an Elman network has one. */
typedef struct {
    long kind, steps, batch, cells, panel_count, vectors, blocks, threads; /* blocks of at most TILE rows */
    const long *rows;    /* [steps], never increasing */
    const float *panels; /* forward: columns are gates, each begun at a multiple of 16; backward: columns are cells */
    float *sums;         /* [panels * vectors, batch, 16]: forward, of one step; backward, the gradient of the state, first and last */
    float *gates;        /* [total, gates * cells]: products with x that become the gates */
    float *hidden;       /* [batch + total, cells]: the first states, then those after each step */
    float *cell;         /* LSTM: the same of c */
    float *beside;       /* [total, cells]: tanh c of an LSTM, the product in the candidate of a GRU */
    const float *bias;   /* GRU: [cells], of that product */
    unsigned short *pairs; /* null, or the factors of the panels in bfloat16, [batch, `words` of two]: zero where no number belongs */
    long words;            /* of the sum in a product: forward `cells`, backward gates * cells, or half of that rounded up */
    /* backward only */
    const float *d_outputs; /* [total, cells] or null */
    float *d_cell;          /* LSTM: [batch, cells]: gradient of c after the last step; becomes that of the first */
    float *d_sums;          /* [total, gates * cells]; GRU: [total, 4 * cells] of n in the product with x, r, z, n in the other */
} Recurrence;

INLINE __m512 get(const float *from, __mmask16 kept) { return _mm512_maskz_loadu_ps(kept, from); }
INLINE void set(float *to, __mmask16 kept, __m512 x) { _mm512_mask_storeu_ps(to, kept, x); }
INLINE __m512 times(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
INLINE __m512 minus(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
INLINE __m512 bend(__m512 gate) { return times(gate, minus(_mm512_set1_ps(1.0f), gate)); } /* slope of a sigmoid */

INLINE long gates_of(const int kind) { return kind == LSTM ? 4 : kind == GRU ? 3 : 1; }
INLINE __mmask16 columns_left(long left) { return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1); }

INLINE float *sum_at(const Recurrence *r, long row, long column) { return r->sums + column * r->batch + 16 * row; }

typedef void Product(float *sums, long gap, const int *a, long stride, const float *panel, long words);
#define PRODUCT(rows, vectors)                                                                                              \
    static void product_##rows##_##vectors(float *sums, long gap, const int *a, long stride, const float *panel, long words) { \
        multiply(sums, rows, vectors, 16, gap, 0, a, stride, panel, words, (Ahead){panel, 0});                              \
    }                                                                                                                       \
    static void low_product_##rows##_##vectors(float *sums, long gap, const int *a, long stride, const float *panel, long words) { \
        multiply(sums, rows, vectors, 16, gap, 1, a, stride, panel, words, (Ahead){panel, 0});                              \
    }
#define WIDTHS(rows) PRODUCT(rows, 1) PRODUCT(rows, 2) PRODUCT(rows, 3) PRODUCT(rows, 4)
HEIGHTS(WIDTHS)
#define NAMES(rows) {product_##rows##_1, product_##rows##_2, product_##rows##_3, product_##rows##_4},
#define LOW_NAMES(rows) {low_product_##rows##_1, low_product_##rows##_2, low_product_##rows##_3, low_product_##rows##_4},
static Product *const products[2][TILE][4] = {{HEIGHTS(NAMES)}, {HEIGHTS(LOW_NAMES)}};

/* Of a row, sixteen factors of the next product from the `n`-th on. */
INLINE void set_pairs(const Recurrence *r, long row, long n, __mmask16 kept, __m512 x) {
#ifdef __AVX512BF16__
    if (r->pairs) _mm256_mask_storeu_epi16(r->pairs + 2 * r->words * row + n, kept, (__m256i)_mm512_cvtneps_pbh(x));
#else
    (void)r, (void)row, (void)n, (void)kept, (void)x;
#endif
}

/* Row `row` of the step whose first packed row is `at`, its state before at row `before` of the states. */
INLINE void forward_row(const Recurrence *r, const int kind, long at, long before, long row) {
    const long cells = r->cells, wide = (cells + 15) / 16 * 16, after = (r->batch + at + row) * cells;
    float *gates = r->gates + (at + row) * gates_of(kind) * cells;
    for (long n = 0; n < cells; n += 16) {
        const __mmask16 kept = columns_left(cells - n);
        __m512 a[4], h;
        UNROLL for (long k = 0; k < gates_of(kind); k++) {
            const __m512 sum = _mm512_load_ps(sum_at(r, row, k * wide + n)), x = get(gates + k * cells + n, kept);
            a[k] = kind == GRU && k == 2 ? x : _mm512_add_ps(x, sum);
        }
        if (kind == LSTM) {
            const __m512 i = sigmoid(a[0]), f = sigmoid(a[1]), g = tangent(a[2]), o = sigmoid(a[3]);
            const __m512 c = _mm512_fmadd_ps(f, get(r->cell + before * cells + row * cells + n, kept), times(i, g)), t = tangent(c);
            set(gates + n, kept, i), set(gates + cells + n, kept, f), set(gates + 2 * cells + n, kept, g), set(gates + 3 * cells + n, kept, o);
            set(r->cell + after + n, kept, c);
            set(r->beside + (at + row) * cells + n, kept, t);
            h = times(o, t);
        } else if (kind == GRU) {
            const __m512 reset = sigmoid(a[0]), z = sigmoid(a[1]), old = get(r->hidden + (before + row) * cells + n, kept);
            const __m512 m = _mm512_add_ps(_mm512_load_ps(sum_at(r, row, 2 * wide + n)), get(r->bias + n, kept));
            const __m512 new = tangent(_mm512_fmadd_ps(reset, m, a[2]));
            set(gates + n, kept, reset), set(gates + cells + n, kept, z), set(gates + 2 * cells + n, kept, new);
            set(r->beside + (at + row) * cells + n, kept, m);
            h = _mm512_fmadd_ps(z, minus(old, new), new);
        } else {
            h = kind == TANH ? tangent(a[0]) : kind == SIGMOID ? sigmoid(a[0]) : _mm512_max_ps(_mm512_setzero_ps(), a[0]);
        }
        set(r->hidden + after + n, kept, h);
        set_pairs(r, row, n, kept, h);
    }
}

/* Leaves in the sums what of the state's gradient goes past the product to the step before. */
INLINE void backward_row(const Recurrence *r, const int kind, long at, long before, long row) {
    const long cells = r->cells, place = (at + row) * cells;
    const __m512 one = _mm512_set1_ps(1.0f);
    const float *gates = r->gates + gates_of(kind) * place;
    float *d = r->d_sums + (kind == GRU ? 4 : gates_of(kind)) * place;
    __m512 factors[4];
    for (long n = 0; n < cells; n += 16) {
        const __mmask16 kept = columns_left(cells - n);
        float *sum = sum_at(r, row, n);
        __m512 dh = _mm512_load_ps(sum), past = _mm512_setzero_ps();
        if (r->d_outputs) dh = _mm512_add_ps(dh, get(r->d_outputs + place + n, kept));
        if (kind == LSTM) {
            const __m512 i = get(gates + n, kept), f = get(gates + cells + n, kept), g = get(gates + 2 * cells + n, kept);
            const __m512 o = get(gates + 3 * cells + n, kept), t = get(r->beside + place + n, kept);
            const __m512 old = get(r->cell + (before + row) * cells + n, kept);
            float *running = r->d_cell + row * cells + n;
            const __m512 dc = _mm512_fmadd_ps(times(dh, o), _mm512_fnmadd_ps(t, t, one), get(running, kept));
            factors[0] = times(times(dc, g), bend(i)), factors[1] = times(times(dc, old), bend(f));
            factors[2] = times(times(dc, i), _mm512_fnmadd_ps(g, g, one)), factors[3] = times(times(dh, t), bend(o));
            set(running, kept, times(dc, f));
        } else if (kind == GRU) {
            const __m512 reset = get(gates + n, kept), z = get(gates + cells + n, kept), new = get(gates + 2 * cells + n, kept);
            const __m512 old = get(r->hidden + (before + row) * cells + n, kept), m = get(r->beside + place + n, kept);
            const __m512 dn = times(times(dh, minus(one, z)), _mm512_fnmadd_ps(new, new, one));
            set(d + n, kept, dn);
            factors[0] = times(times(dn, m), bend(reset)), factors[1] = times(times(dh, minus(old, new)), bend(z));
            factors[2] = times(dn, reset);
            past = times(dh, z);
        } else {
            const __m512 h = get(r->hidden + (r->batch + at + row) * cells + n, kept);
            const __m512 slope = kind == TANH ? _mm512_fnmadd_ps(h, h, one) : kind == SIGMOID ? bend(h)
                : _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(h, _mm512_setzero_ps(), _CMP_GT_OQ), one);
            factors[0] = times(dh, slope);
        }
        UNROLL for (long k = 0; k < gates_of(kind); k++) {
            set(d + ((kind == GRU) + k) * cells + n, kept, factors[k]);
            set_pairs(r, row, k * cells + n, kept, factors[k]);
        }
        _mm512_store_ps(sum, _mm512_maskz_mov_ps(kept, past));
    }
}

/* Runs over the blocks of rows 0 .. rows - 1 that are thread `number`'s: `first` and `stop`. */
#define FOR_BLOCKS(rows)                                                                                                 \
    for (long block = number, first, stop; block < r->blocks; block += r->threads)                                      \
        if (first = block * r->batch / r->blocks, stop = (block + 1) * r->batch / r->blocks, stop = stop < (rows) ? stop : (rows), \
            first < stop)

/* sums += rows at `from`, every `stride` numbers one, or those of the pairs, x panels */
INLINE void multiply_rows(const Recurrence *r, const float *from, long stride, long rows, long number) {
    const int *a = r->pairs ? (const int *)r->pairs : (const int *)from;
    if (r->pairs) stride = r->words;
    for (long panel = 0; panel < r->panel_count; panel++) {
        const long column = panel * r->vectors * 16;
        FOR_BLOCKS(rows)
            products[r->pairs != 0][stop - first - 1][r->vectors - 1](sum_at(r, first, column), 16 * r->batch, a + first * stride, stride,
                                                                      r->panels + column * r->words, r->words);
    }
}

INLINE void clear_rows(const Recurrence *r, long rows, long number) {
    for (long column = 0; column < r->panel_count * r->vectors * 16; column += 16)
        FOR_BLOCKS(rows) memset(sum_at(r, first, column), 0, (stop - first) * 16 * sizeof(float));
}

INLINE void forward_steps(const Recurrence *r, const int kind, long number) {
    for (long step = 0, at = 0, before = 0; step < r->steps; step++) {
        clear_rows(r, r->rows[step], number);
        multiply_rows(r, r->hidden + before * r->cells, r->cells, r->rows[step], number);
        FOR_BLOCKS(r->rows[step])
            for (long row = first; row < stop; row++) forward_row(r, kind, at, before, row);
        before = r->batch + at;
        at += r->rows[step];
    }
}

INLINE void backward_steps(const Recurrence *r, const int kind, long number) {
    const long stride = (kind == GRU ? 4 : gates_of(kind)) * r->cells;
    long at = 0;
    for (long step = 0; step < r->steps; step++) at += r->rows[step];
    for (long step = r->steps - 1; step >= 0; step--) {
        at -= r->rows[step];
        const long before = step ? r->batch + at - r->rows[step - 1] : 0;
        FOR_BLOCKS(r->rows[step])
            for (long row = first; row < stop; row++) backward_row(r, kind, at, before, row);
        multiply_rows(r, r->d_sums + at * stride + stride - gates_of(kind) * r->cells, stride, r->rows[step], number);
    }
}

/* Every kind has code of its own, in which nothing is asked twice. */
#define KINDS(pass)                                           \
    static void pass##_part(const void *task, long number) {  \
        const Recurrence *r = task;                           \
        switch (r->kind) {                                    \
            case TANH: pass##_steps(r, TANH, number); break;  \
            case RELU: pass##_steps(r, RELU, number); break;  \
            case SIGMOID: pass##_steps(r, SIGMOID, number); break; \
            case GRU: pass##_steps(r, GRU, number); break;    \
            default: pass##_steps(r, LSTM, number);           \
        }                                                     \
    }
KINDS(forward) KINDS(backward)

int recurrence_forward(const Recurrence *r) {
    share_parts(forward_part, r, r->threads, r->threads);
    return 0;
}

int recurrence_backward(const Recurrence *r) {
    share_parts(backward_part, r, r->threads, r->threads);
    return 0;
}
