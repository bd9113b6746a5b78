/* Products of a few rows with a panel of at most 64 columns, for processors with AVX-512.

   A panel holds its columns side by side for one word of the sum after the other. A word is a float, or two bfloat16 that one
   instruction multiplies and adds. Sums stay in registers until they are complete, and each is made in one order, so what a
   row gets depends on nothing but that row. */

#pragma once

#include "vectors.h"

#define TILE 6 /* rows whose sums fit the registers: 6 x 4 of 32, four weights and one input beside them */

/* Weights that are wanted next, and how many of them to fetch with every word. */
typedef struct {
    const float *weights;
    long each;
} Ahead;

/* A tile's share of `words` words at `next`: the panel's tiles fetch them evenly, as fast as memory can give. */
INLINE Ahead ahead_of(const float *next, long words, long tile, long tiles) {
    const long each = (63 + tiles) / tiles;
    return (Ahead){next + tile * each * words, each};
}

INLINE void fetch(const void *line) { __builtin_prefetch(line, 0, 3); }
INLINE void fetch_weights(const float *line) { __builtin_prefetch(line, 0, 2); }

/* sums[rows][vectors of 16 columns] += a[rows][words] x panel[words][vectors]; the sums of a row's vectors lie `gap` numbers
   apart, those of rows `line`. */
INLINE void multiply(float *sums, const int rows, const int vectors, long line, long gap, const int low, const int *a, long stride,
                     const float *panel, long words, Ahead ahead) {
    (void)low; /* where there are no pairs */
    const int *b = a + 3 * stride; /* two bases and one stride reach six rows */
    __m512 sum[TILE][4];
    UNROLL for (int m = 0; m < rows; m++)
        UNROLL for (int v = 0; v < vectors; v++) sum[m][v] = _mm512_load_ps(sums + line * m + gap * v);
    for (const float *end = panel + 16 * vectors * words; panel != end; a++, b++, panel += 16 * vectors) {
        __m512 weight[4];
        UNROLL for (int v = 0; v < vectors; v++) {
            weight[v] = _mm512_loadu_ps(panel + 16 * v);
            __asm__("" : "+v"(weight[v])); /* in a register: loaded for every row again, it would take longer than the product */
        }
        fetch_weights(ahead.weights);
        if (ahead.each > 16) fetch_weights(ahead.weights + 16);
        if (ahead.each > 32) fetch_weights(ahead.weights + 32), fetch_weights(ahead.weights + 48);
        ahead.weights += ahead.each;
        UNROLL for (int m = 0; m < rows; m++) {
            const __m512i x = _mm512_set1_epi32(m < 3 ? a[m * stride] : b[(m - 3) * stride]);
            UNROLL for (int v = 0; v < vectors; v++) {
#ifdef __AVX512BF16__
                if (low) {
                    sum[m][v] = _mm512_dpbf16_ps(sum[m][v], (__m512bh)x, (__m512bh)weight[v]);
                    continue;
                }
#endif
                sum[m][v] = _mm512_fmadd_ps(_mm512_castsi512_ps(x), weight[v], sum[m][v]);
            }
        }
    }
    UNROLL for (int m = 0; m < rows; m++)
        UNROLL for (int v = 0; v < vectors; v++) _mm512_store_ps(sums + line * m + gap * v, sum[m][v]);
}

/* Every height has code of its own, in which all sums stay in registers. */
#define HEIGHTS(kind) kind(1) kind(2) kind(3) kind(4) kind(5) kind(6)

/* Whether words may be pairs of bfloat16. */
int has_bfloat16(void) {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}
