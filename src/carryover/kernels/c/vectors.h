/* Functions of 16 numbers at a time, for processors with AVX-512. */

#pragma once

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#define UNROLL_ALL _Pragma("GCC unroll 32")

INLINE __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x)); /* a NaN stays one */
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r); /* |r| <= ln(2)/2: seven terms of the series do */
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

INLINE __m512 sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

/* sigmoid(gate) tanh(x), with one division */
INLINE __m512 gated(__m512 gate, __m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), e = exponential(_mm512_mul_ps(x, _mm512_set1_ps(-2.0f)));
    const __m512 shut = _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
    return _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_mul_ps(_mm512_add_ps(one, e), shut));
}

INLINE __m512 clip(__m512 x, float limit) {
    return _mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), x));
}

/* near 0 by its series, where the difference of the other would keep few digits */
INLINE __m512 tangent(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), e = exponential(_mm512_mul_ps(x, _mm512_set1_ps(-2.0f)));
    const __m512 far = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e)), square = _mm512_mul_ps(x, x);
    __m512 p = _mm512_set1_ps(62.0f / 2835);
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(-17.0f / 315));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(2.0f / 15));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(-1.0f / 3));
    const __m512 near = _mm512_fmadd_ps(_mm512_mul_ps(p, square), x, x);
    return _mm512_mask_mov_ps(far, _mm512_cmp_ps_mask(square, _mm512_set1_ps(0.0625f), _CMP_LT_OQ), near);
}

/* The sum of each of 16 vectors */
INLINE __m512 sum_each(const __m512 *v) {
    __m512 two[8], four[4], eight[2];
    UNROLL for (int n = 0; n < 8; n++)
        two[n] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * n], v[2 * n + 1]), _mm512_unpackhi_ps(v[2 * n], v[2 * n + 1]));
    UNROLL for (int n = 0; n < 4; n++) {
        const __m512d one = _mm512_castps_pd(two[2 * n]), other = _mm512_castps_pd(two[2 * n + 1]);
        four[n] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(one, other)), _mm512_castpd_ps(_mm512_unpackhi_pd(one, other)));
    }
    UNROLL for (int n = 0; n < 2; n++)
        eight[n] = _mm512_add_ps(_mm512_shuffle_f32x4(four[2 * n], four[2 * n + 1], 0x88),
                                 _mm512_shuffle_f32x4(four[2 * n], four[2 * n + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(eight[0], eight[1], 0x88), _mm512_shuffle_f32x4(eight[0], eight[1], 0xdd));
}
