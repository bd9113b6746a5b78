/* Passes without gradients on a processor with AVX-512: words from characters, and LSTMs with projection and clipping.

   Weights come as panels of 64 columns (`products.h`). What follows a product (bias, gates, clips) is done where its sums are.
   What a row gets depends on nothing but that row, whatever the number of rows and of threads. */

#include "threads.h" /* before the headers of the system */

#include <sys/mman.h>

#include "products.h"
#include "schedule.h"

#define PIECE 512 /* words of a long sum at a time, so that a panel's piece stays in the cache for all rows */

/* c_t = clip(f c_{t-1} + i g),  h_t = clip(W_p (o tanh c_t)),  gates i, f, g, o of  b + W x_t + U h_{t-1}.

   Rows lie packed, the longest sentence first, so step t has rows 0 .. rows[t]-1; `schedule` says which are done together. A
   panel of the gates is 16 cells times four gates, of the projection 64 outputs. A thread keeps its panels through all steps: it
   makes their share of W x + b for a block of steps, then adds U h and turns the sums into c and o tanh c. */
typedef struct {
    long steps, cells, size, outputs;             /* cells: a multiple of 16; size: of the hidden rows, a multiple of 64 */
    long input_words, hidden_words, middle_words; /* words of the sums over x, h and o tanh c */
    long gate_rows, low, threads;                 /* rows of `gates`, at least batch; whether words are bfloat16 pairs */
    const long *rows;                             /* [steps] */
    const int *input;                             /* [total, input_words] */
    const float *input_panels, *bias, *hidden_panels, *projection_panels;
    float *gates;                                 /* [gate_rows, 4 cells] */
    float *cell;                                  /* [batch, cells], the first state and in the end the last */
    int *state;                                   /* [batch, size], the same of the hidden rows */
    int *hidden;                                  /* [batch, size], of the slots; and so the next two */
    int *middle;                                  /* [batch, middle_words] */
    float *sums;                                  /* [batch, size] */
    void *found;                                  /* [total, outputs]: float or bfloat16 */
    float cell_limit, projection_limit;
    Schedule schedule;
} Scan;

/* Features of words: for filters of width w, the largest over all places p of  b + sum_j table[j][character p + j].  A table
   holds what each character adds to each filter at each place of the window, so nothing is multiplied. */
typedef struct {
    long words, places, ids, widths, features, threads;
    const long *width, *count; /* [widths]; counts are multiples of 16 */
    const long *characters;    /* [words, places] */
    const float *tables, *bias;
    float *found;              /* [words, features] */
} Words;

/* y = b + W x, or with `highway` y = g relu(t) + (1 - g) x with t, g of b + W x, 32 columns of each in a panel. */
typedef struct {
    long rows, words, panels, outputs, highway, low, threads;
    const int *x; /* [rows, words] */
    const float *weights, *bias;
    void *y;      /* [rows, outputs]: float or bfloat16 */
} Dense;

/* ---------------------------------------------------------------- tiles */

#define PRODUCTS(rows)                                                                                                 \
    static void floats_##rows(float *sums, const int *a, long stride, const float *panel, long words, Ahead ahead) {   \
        multiply(sums, rows, 4, 64, 16, 0, a, stride, panel, words, ahead);                                            \
    }                                                                                                                  \
    static void pairs_##rows(float *sums, const int *a, long stride, const float *panel, long words, Ahead ahead) {    \
        multiply(sums, rows, 4, 64, 16, 1, a, stride, panel, words, ahead);                                            \
    }
HEIGHTS(PRODUCTS)

typedef void Product(float *sums, const int *a, long stride, const float *panel, long words, Ahead ahead);
static Product *const products[2][TILE] = {{floats_1, floats_2, floats_3, floats_4, floats_5, floats_6},
                                           {pairs_1, pairs_2, pairs_3, pairs_4, pairs_5, pairs_6}};

/* Sums of a tile, one row of 64 below the other */
typedef float Sums[TILE * 64] __attribute__((aligned(64)));

INLINE void copy_row(float *to, const float *from) {
    UNROLL for (int v = 0; v < 4; v++) _mm512_storeu_ps(to + 16 * v, _mm512_loadu_ps(from + 16 * v));
}

/* 16 numbers as words of the next sum */
INLINE void put(int *row, long column, const int low, __m512 values, __mmask16 kept) {
    (void)low;
#ifdef __AVX512BF16__
    if (low) {
        _mm256_mask_storeu_epi16((short *)row + column, kept, (__m256i)_mm512_cvtneps_pbh(values));
        return;
    }
#endif
    _mm512_mask_storeu_ps((float *)row + column, kept, values);
}

/* Which of 16 columns are kept where so many are left */
INLINE __mmask16 columns_left(long left) { return left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0; }

INLINE void input_tile(const Scan *s, long rows, const int low, long panel, long from, long first, Ahead ahead) {
    Sums sums;
    for (long m = 0; m < rows; m++) {
        copy_row(sums + 64 * m, s->bias + 64 * panel);
        for (int v = 0; v < 4; v++) __builtin_prefetch(s->gates + (first + m) * 4 * s->cells + 64 * panel + 16 * v, 1, 2);
    }
    products[low][rows - 1](sums, s->schedule.input + (from + first) * s->input_words, s->input_words,
                            s->input_panels + 64 * panel * s->input_words, s->input_words, ahead);
    for (long m = 0; m < rows; m++) copy_row(s->gates + (first + m) * 4 * s->cells + 64 * panel, sums + 64 * m);
}

INLINE void gate_tile(const Scan *s, long rows, const int low, long panel, long next, long step, long first, Ahead ahead) {
    const long *gate = s->schedule.gate + s->schedule.first[step] + first;
    const long *sentence = s->schedule.sentence + s->schedule.first[step] + first;
    const long width = low ? s->size / 2 : s->size;
    Sums sums;
    for (long m = 0; m < rows; m++) {
        const float *line = s->gates + gate[m] * 4 * s->cells;
        copy_row(sums + 64 * m, line + 64 * panel);
        for (int v = 0; v < 4; v++) fetch(line + 64 * next + 16 * v);
        fetch(s->cell + sentence[m] * s->cells + 16 * next);
    }
    products[low][rows - 1](sums, s->hidden + first * width, width, s->hidden_panels + 64 * panel * s->hidden_words,
                            s->hidden_words, ahead);
    for (long m = 0; m < rows; m++) {
        float *cell = s->cell + sentence[m] * s->cells + 16 * panel;
        const float *sum = sums + 64 * m;
        const __m512 added = gated(_mm512_load_ps(sum), _mm512_load_ps(sum + 32)), kept = sigmoid(_mm512_load_ps(sum + 16));
        const __m512 c = clip(_mm512_fmadd_ps(kept, _mm512_loadu_ps(cell), added), s->cell_limit);
        _mm512_storeu_ps(cell, c);
        put(s->middle + (first + m) * s->middle_words, 16 * panel, low, gated(_mm512_load_ps(sum + 48), c), 0xffff);
    }
}

/* 64 columns of a slot's hidden row after a step: of the sentence that goes on, or of the one that begins. */
INLINE void hand_on(const Scan *s, const int low, long step, long slot, long column, const float *h) {
    const Schedule *plan = &s->schedule;
    const long width = low ? s->size / 2 : s->size, sentence = plan->sentence[plan->first[step] + slot];
    const int more = step + 1 < plan->steps && slot < plan->running[step + 1];
    const long next = more ? plan->sentence[plan->first[step + 1] + slot] : -1;
    int *to = next == sentence ? s->hidden + slot * width : s->state + sentence * width;
    UNROLL for (int v = 0; v < 4; v++) put(to, column + 16 * v, low, _mm512_load_ps(h + 16 * v), 0xffff);
    const long from = low ? column / 2 : column;
    if (more && next != sentence)
        memcpy(s->hidden + slot * width + from, s->state + next * width + from, (low ? 32 : 64) * sizeof(int));
}

INLINE void projection_tile(const Scan *s, long rows, const int low, long panel, long step, long first, long from, Ahead ahead) {
    const long words = s->middle_words - from < PIECE ? s->middle_words - from : PIECE, column = 64 * panel;
    const long *row = s->schedule.row + s->schedule.first[step] + first, found = low ? 2 : 4;
    float *part = s->sums + first * s->size + column;
    Sums sums = {0};
    if (from)
        for (long m = 0; m < rows; m++) copy_row(sums + 64 * m, part + m * s->size);
    products[low][rows - 1](sums, s->middle + first * s->middle_words + from, s->middle_words,
                            s->projection_panels + 64 * (panel * s->middle_words + from), words, ahead);
    if (from + words < s->middle_words) {
        for (long m = 0; m < rows; m++) copy_row(part + m * s->size, sums + 64 * m);
        return;
    }
    for (long m = 0; m < rows; m++) {
        for (long v = 0; v < 64; v += 16) {
            const __m512 h = clip(_mm512_load_ps(sums + 64 * m + v), s->projection_limit);
            _mm512_store_ps(sums + 64 * m + v, h);
            put((int *)((char *)s->found + row[m] * s->outputs * found), column + v, low, h, columns_left(s->outputs - column - v));
        }
        hand_on(s, low, step, first + m, column, sums + 64 * m);
    }
}

/* Rows 0 .. rows-1 in tiles of nearly equal height */
#define FOR_TILES(rows)                                                                                      \
    for (long tiles = ((rows) + TILE - 1) / TILE, tile = 0, first = 0, height = 0;                           \
         tile < tiles && (height = (rows) / tiles + (tile < (rows) % tiles), 1); first += height, tile++)

INLINE void run_steps(Team *team, long number, const int low) {
    const Scan *s = team->task;
    const Schedule *plan = &s->schedule;
    const long threads = team->threads, panels = s->cells / 16, outputs = s->size / 64;
    const long from = panels * number / threads, to = panels * (number + 1) / threads;
    const long first_output = outputs * number / threads, last_output = outputs * (number + 1) / threads;
    const float *projection = s->projection_panels + 64 * first_output * s->middle_words;
    for (long block = 0; block < plan->blocks; block++) {
        const long known = plan->known[block], stop = plan->block[block + 1];
        for (long panel = from; panel < to; panel++) {
            const float *next = s->input_panels + 64 * (panel + 1 < to ? panel + 1 : from) * s->input_words;
            FOR_TILES(plan->known[block + 1] - known)
                input_tile(s, height, low, panel, known, first, ahead_of(next, s->input_words, tile, tiles));
        }
        for (long step = plan->block[block]; step < stop; step++) {
            /* There and back again: what was read last is still in the cache. */
            const long back = step & 1, start = back ? to - 1 : from;
            for (long n = from; n < to; n++) {
                const long panel = back ? from + to - 1 - n : n, next = n + 1 == to ? panel : back ? panel - 1 : panel + 1;
                const float *weights = n + 1 == to ? projection : s->hidden_panels + 64 * next * s->hidden_words;
                FOR_TILES(plan->running[step])
                    gate_tile(s, height, low, panel, next, step, first, ahead_of(weights, s->hidden_words, tile, tiles));
            }
            meet(team);
            for (long panel = first_output; panel < last_output; panel++)
                for (long piece = 0; piece < s->middle_words; piece += PIECE) {
                    const int end = panel + 1 == last_output && piece + PIECE >= s->middle_words;
                    const float *weights = end ? s->hidden_panels + 64 * (from + to - 1 - start) * s->hidden_words
                                               : s->projection_panels + 64 * (panel * s->middle_words + piece + PIECE);
                    FOR_TILES(plan->running[step])
                        projection_tile(s, height, low, panel, step, first, piece, ahead_of(weights, PIECE, tile, tiles));
                }
            meet(team);
        }
    }
}

static void steps_of_floats(Team *team, long number) { run_steps(team, number, 0); }
static void steps_of_pairs(Team *team, long number) { run_steps(team, number, 1); }

/* ---------------------------------------------------------------- words */

static void find_features(Team *team, long number) {
    const Words *w = team->task;
    for (long word = w->words * number / team->threads; word < w->words * (number + 1) / team->threads; word++) {
        const long *character = w->characters + word * w->places;
        long used = w->places; /* from here on all characters are the same, and so are all windows */
        while (used && character[used - 1] == character[w->places - 1]) used--;
        const float *table = w->tables, *bias = w->bias;
        float *found = w->found + word * w->features;
        for (long k = 0; k < w->widths; k++) {
            const long width = w->width[k], count = w->count[k];
            const long places = used < w->places - width ? used + 1 : w->places - width + 1;
            for (long column = 0; column < count; column += 16) {
                __m512 largest = _mm512_set1_ps(-__builtin_inff());
                for (long p = 0; p < places; p++) {
                    __m512 sum = _mm512_loadu_ps(table + character[p] * count + column);
                    for (long j = 1; j < width; j++)
                        sum = _mm512_add_ps(sum, _mm512_loadu_ps(table + (j * w->ids + character[p + j]) * count + column));
                    largest = _mm512_max_ps(largest, sum);
                }
                _mm512_storeu_ps(found + column, _mm512_add_ps(largest, _mm512_loadu_ps(bias + column)));
            }
            table += width * w->ids * count;
            bias += count;
            found += count;
        }
    }
}

INLINE __m512 get(const int *row, long column, const int low) {
    if (!low) return _mm512_loadu_ps((const float *)row + column);
    const __m256i pairs = _mm256_loadu_si256((const __m256i *)((const short *)row + column));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(pairs), 16));
}

INLINE void dense_tile(const Dense *d, long rows, const int low, long panel, long first, Ahead ahead) {
    const int *x = d->x + first * d->words;
    Sums sums;
    for (long m = 0; m < rows; m++) copy_row(sums + 64 * m, d->bias + 64 * panel);
    products[low][rows - 1](sums, x, d->words, d->weights + 64 * panel * d->words, d->words, ahead);
    for (long m = 0; m < rows; m++) {
        const float *sum = sums + 64 * m;
        int *y = (int *)((char *)d->y + (first + m) * d->outputs * (low ? 2 : 4));
        for (long v = 0; d->highway && v < 32; v += 16) {
            const __m512 carried = get(x + m * d->words, 32 * panel + v, low), gate = sigmoid(_mm512_load_ps(sum + 32 + v));
            const __m512 changed = _mm512_max_ps(_mm512_setzero_ps(), _mm512_load_ps(sum + v));
            put(y, 32 * panel + v, low, _mm512_fmadd_ps(gate, _mm512_sub_ps(changed, carried), carried), 0xffff);
        }
        for (long v = 0; !d->highway && v < 64; v += 16)
            put(y, 64 * panel + v, low, _mm512_load_ps(sum + v), columns_left(d->outputs - 64 * panel - v));
    }
}

INLINE void run_dense(Team *team, long number, const int low) {
    const Dense *d = team->task;
    for (long panel = d->panels * number / team->threads; panel < d->panels * (number + 1) / team->threads; panel++)
        FOR_TILES(d->rows) dense_tile(d, height, low, panel, first, ahead_of(d->weights + 64 * (panel + 1) * d->words, d->words, tile, tiles));
}

static void dense_of_floats(Team *team, long number) { run_dense(team, number, 0); }
static void dense_of_pairs(Team *team, long number) { run_dense(team, number, 1); }

/* ---------------------------------------------------------------- what is called from outside */

/* A number that tells contents apart: every change of one word changes it, others all but surely. */
long fingerprint(const char *memory, long bytes) {
    const __m512i odd = _mm512_set1_epi64(0x9e3779b97f4a7c15);
    __m512i sums[4];
    for (int n = 0; n < 4; n++) sums[n] = _mm512_set1_epi64(n + 1);
    for (long done = 0; done < bytes; done += 256) {
        char rest[256] = {0};
        const char *from = bytes - done < 256 ? memcpy(rest, memory + done, bytes - done) : memory + done;
        UNROLL for (int n = 0; n < 4; n++)
            sums[n] = _mm512_rol_epi64(_mm512_mullo_epi64(_mm512_xor_si512(sums[n], _mm512_loadu_si512(from + 64 * n)), odd), 29);
    }
    unsigned long long lanes[32], found = bytes;
    memcpy(lanes, sums, sizeof lanes);
    for (int n = 0; n < 32; n++) found = (found ^ lanes[n]) * 0xbf58476d1ce4e5b9 ^ found >> 31;
    return (long)(found >> 1);
}

/* Ask for large pages: weights are read from end to end, and a page of the usual size is 4096 bytes. */
void use_large_pages(void *memory, long bytes) {
#ifdef MADV_HUGEPAGE
    const size_t page = 4096, first = ((size_t)memory + page - 1) / page * page;
    if ((size_t)memory + bytes > first + page) madvise((void *)first, ((size_t)memory + bytes - first) / page * page, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

int lstm_steps(Scan *scan) {
    Schedule *plan = &scan->schedule;
    if (make_schedule(plan, scan->steps, scan->rows, scan->input, scan->input_words, scan->gate_rows)) return 1;
    const long width = scan->low ? scan->size / 2 : scan->size;
    for (long slot = 0; slot < plan->slots; slot++)
        memcpy(scan->hidden + slot * width, scan->state + plan->sentence[slot] * width, width * sizeof(int));
    run_team(scan->low ? steps_of_pairs : steps_of_floats, scan, scan->threads);
    free(plan->memory);
    return 0;
}

int word_features(const Words *words) {
    run_team(find_features, words, words->threads);
    return 0;
}

int dense(const Dense *dense) {
    run_team(dense->low ? dense_of_pairs : dense_of_floats, dense, dense->threads);
    return 0;
}
