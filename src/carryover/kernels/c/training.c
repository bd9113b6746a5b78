/* One step of an LSTM between its matrix products, forward and backward, on a processor with AVX-512.

   Each function takes a step's rows once from memory to memory where element-wise operations would pass over them ten times.
   The notation is that of the scan beside it: gates i, f, s, o of doubled candidates, half cells z, u = sigmoid(4 z),
   m = o (u - 1/2). Rows are dense, four gates of `cells` numbers each; `low` says whether products come and go as bfloat16. */

#include "threads.h" /* before the headers of the system */

#include <stdint.h>

#include "vectors.h"

#define ROWS_AT_ONCE 4

typedef struct {
    long rows, cells, low, threads;
    const void *input, *recurrent; /* [rows, 4 cells]: the two products of a step, float or bfloat16 */
    const float *bias;             /* [4 cells], or null where it is in `input` */
    const float *before;           /* [rows, cells]: z of the step before */
    float *gates, *after, *squashed; /* [rows, 4 cells], [rows, cells]: z, u; `gates` may be `input` */
    void *outputs;                 /* [rows, cells]: m, float or bfloat16 */
    float limit;                   /* of z */
} Forward;

typedef struct {
    long rows, cells, low, threads;
    const float *gates, *squashed, *before;
    const float *after;     /* z where it may have been cut, else null */
    const void *d_outputs;  /* [rows, cells]: gradient of m, float or bfloat16 */
    float *d_cells;         /* [rows, cells]: gradient of z, of the step after; becomes that of the step before */
    void *d_gates;          /* [rows, 4 cells]: gradient of the sums in the gates, float or bfloat16 */
    float limit;
} Backward;

INLINE __m512 get(const void *from, long place, __mmask16 mask, long low) {
    if (!low) return _mm512_maskz_loadu_ps(mask, (const float *)from + place);
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)from + place);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

INLINE void put(void *to, long place, __mmask16 mask, long low, __m512 x) {
    if (!low) {
        _mm512_mask_storeu_ps((float *)to + place, mask, x);
        return;
    }
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i nearest = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))); /* ties to even */
    nearest = _mm512_mask_mov_epi32(nearest, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
    _mm256_mask_storeu_epi16((uint16_t *)to + place, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(nearest, 16)));
}

INLINE void forward_rows(const Forward *task, long first_row, long stop, const long low) {
    const long cells = task->cells;
    const __m512 half = _mm512_set1_ps(0.5f), four = _mm512_set1_ps(4.0f);
    for (long row = first_row; row < stop; row++)
        for (long cell = 0; cell < cells; cell += 16) {
            const __mmask16 mask = cells - cell < 16 ? (__mmask16)((1u << (cells - cell)) - 1) : (__mmask16)0xffff;
            const long place = row * cells + cell;
            __m512 gate[4];
            UNROLL for (long k = 0; k < 4; k++) {
                const long at = row * 4 * cells + k * cells + cell;
                __m512 sum = get(task->input, at, mask, low);
                if (task->bias) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, task->bias + k * cells + cell));
                gate[k] = sigmoid(_mm512_add_ps(sum, get(task->recurrent, at, mask, low)));
                _mm512_mask_storeu_ps(task->gates + at, mask, gate[k]);
            }
            __m512 z = _mm512_mul_ps(gate[1], _mm512_maskz_loadu_ps(mask, task->before + place));
            z = clip(_mm512_fmadd_ps(gate[0], _mm512_sub_ps(gate[2], half), z), task->limit);
            const __m512 u = sigmoid(_mm512_mul_ps(z, four));
            _mm512_mask_storeu_ps(task->after + place, mask, z);
            _mm512_mask_storeu_ps(task->squashed + place, mask, u);
            put(task->outputs, place, mask, low, _mm512_mul_ps(gate[3], _mm512_sub_ps(u, half)));
        }
}

INLINE void backward_rows(const Backward *task, long first_row, long stop, const long low) {
    const long cells = task->cells;
    const __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1.0f), four = _mm512_set1_ps(4.0f);
    for (long row = first_row; row < stop; row++)
        for (long cell = 0; cell < cells; cell += 16) {
            const __mmask16 mask = cells - cell < 16 ? (__mmask16)((1u << (cells - cell)) - 1) : (__mmask16)0xffff;
            const long place = row * cells + cell, first = row * 4 * cells + cell;
            __m512 gate[4], d_gate[4];
            UNROLL for (long k = 0; k < 4; k++) gate[k] = _mm512_maskz_loadu_ps(mask, task->gates + first + k * cells);
            const __m512 u = _mm512_maskz_loadu_ps(mask, task->squashed + place);
            const __m512 dm = get(task->d_outputs, place, mask, low);
            const __m512 slope = _mm512_mul_ps(_mm512_mul_ps(dm, gate[3]), _mm512_mul_ps(u, _mm512_sub_ps(one, u)));
            __m512 dz = _mm512_fmadd_ps(slope, four, _mm512_maskz_loadu_ps(mask, task->d_cells + place));
            if (task->after) { /* nothing passes where z was cut, nor where it is no number */
                const __m512 size = _mm512_abs_ps(_mm512_maskz_loadu_ps(mask, task->after + place));
                const __mmask16 whole = _mm512_cmp_ps_mask(size, _mm512_set1_ps(task->limit), _CMP_LT_OQ);
                dz = _mm512_mul_ps(dz, _mm512_maskz_mov_ps(whole, one));
            }
            d_gate[0] = _mm512_mul_ps(dz, _mm512_sub_ps(gate[2], half));
            d_gate[1] = _mm512_mul_ps(dz, _mm512_maskz_loadu_ps(mask, task->before + place));
            d_gate[2] = _mm512_mul_ps(dz, gate[0]);
            d_gate[3] = _mm512_mul_ps(dm, _mm512_sub_ps(u, half));
            UNROLL for (long k = 0; k < 4; k++) {
                const __m512 bend = _mm512_mul_ps(gate[k], _mm512_sub_ps(one, gate[k]));
                put(task->d_gates, first + k * cells, mask, low, _mm512_mul_ps(d_gate[k], bend));
            }
            _mm512_mask_storeu_ps(task->d_cells + place, mask, _mm512_mul_ps(dz, gate[1]));
        }
}

static long parts_of(long rows) { return (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; }
static long end_of(long part, long rows) { return (part + 1) * ROWS_AT_ONCE < rows ? (part + 1) * ROWS_AT_ONCE : rows; }

static void forward(const void *data, long part) {
    const Forward *task = data;
    if (task->low) forward_rows(task, part * ROWS_AT_ONCE, end_of(part, task->rows), 1);
    else forward_rows(task, part * ROWS_AT_ONCE, end_of(part, task->rows), 0);
}

static void backward(const void *data, long part) {
    const Backward *task = data;
    if (task->low) backward_rows(task, part * ROWS_AT_ONCE, end_of(part, task->rows), 1);
    else backward_rows(task, part * ROWS_AT_ONCE, end_of(part, task->rows), 0);
}

int lstm_forward(const Forward *task) {
    share_parts(forward, task, parts_of(task->rows), task->threads);
    return 0;
}

int lstm_backward(const Backward *task) {
    share_parts(backward, task, parts_of(task->rows), task->threads);
    return 0;
}

int has_bfloat16(void) { return 1; } /* bfloat16 is only widened and rounded here, which needs no instructions of its own */
