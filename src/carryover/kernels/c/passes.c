/* Whole passes of residual blocks of dilated causal convolutions, forward and backward, on a processor with AVX-512.

   y = relu(z + V x), z = m2 relu(b2 + W2 * h), h = m1 relu(b1 + W1 * x), each block reading what the one before it gave. A row goes
   through all blocks while it is in the cache. Channels stand one below the other, so that 16 steps fill a register whatever
   the number of channels, with MARGIN zeros between two of them for windows that reach over the end; taps that see nothing but
   such zeros are left out, which at large dilations are most. Rows stop at their own lengths.

   All numbers of the structures are of eight bytes: they come as one array. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"
#include "vectors.h"

#define MARGIN 64 /* steps: as many as a tile is wide */
#define TILE 6    /* outputs of a tile of 64 steps: 24 sums, 4 inputs and a weight in registers */
#define ROWS 2    /* whose gradients of weights are summed up in registers */

typedef struct {
    long kernel, dilation;
    const float *first, *first_bias, *second, *second_bias; /* [size, inputs, kernel], [size] */
    const float *match, *match_bias;                        /* [size, inputs], [size]: null for the identity */
    float *d_first, *d_first_bias, *d_second, *d_second_bias, *d_match, *d_match_bias; /* null in the forward pass */
} Block;

typedef struct {
    long rows, time, in_size, size, blocks, groups, threads;
    const float *x;        /* [rows, time, in_size] */
    float *y;              /* [rows, time, size]; or its gradient, in the backward pass */
    const long *lengths;   /* [rows] */
    float *kept;           /* [rows, floats_kept], null where no gradients are wanted */
    uint16_t *open;        /* [rows, blocks, size, time / 16]: where z > 0 */
    const float *masks;    /* [blocks, 2, rows, size]: m1, m2, or null */
    float *d_x;            /* [rows, time, in_size], or null */
    Block block[];
} Network;

/* ---------------------------------------------------------------- places */

INLINE long stride_of(const Network *net) { return (net->time + 15) / 16 * 16 + MARGIN; }
INLINE long floats_of(const Network *net, long channels) { return MARGIN + channels * stride_of(net); }
INLINE long inputs_of(const Network *net, long block) { return block ? net->size : net->in_size; }
INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE __mmask16 steps_left(long left) { return left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0; }

/* Of a row: x, then h and y of every block */
INLINE float *kept_input(const Network *net, long row, long block) {
    const long each = floats_of(net, net->size), first = floats_of(net, net->in_size);
    float *kept = net->kept + row * (first + 2 * net->blocks * each);
    return (block ? kept + first + (2 * block - 1) * each : kept) + MARGIN;
}
INLINE float *kept_hidden(const Network *net, long row, long block) {
    const long each = floats_of(net, net->size), first = floats_of(net, net->in_size);
    return net->kept + row * (first + 2 * net->blocks * each) + first + 2 * block * each + MARGIN;
}
INLINE uint16_t *opened(const Network *net, long row, long block) {
    return net->open + (row * net->blocks + block) * net->size * ((net->time + 15) / 16);
}
INLINE const float *mask_of(const Network *net, long row, long block, long number) {
    return net->masks ? net->masks + ((2 * block + number) * net->rows + row) * net->size : 0;
}

/* Zeros before the first step of each channel, after the last, and in what a register has beyond it */
static void clear(const Network *net, float *values, long channels, long length) {
    const long stride = stride_of(net), from = length / 16 * 16;
    memset(values - MARGIN, 0, MARGIN * sizeof(float));
    for (long c = 0; c < channels; c++) memset(values + c * stride + from, 0, (stride - from) * sizeof(float));
}

/* [time, channels] to channels one below the other, and back */
static void enter(const Network *net, const float *from, float *to, long channels, long length) {
    clear(net, to, channels, length);
    const long stride = stride_of(net);
    for (long c = 0; c < channels; c++)
        for (long t = 0; t < length; t++) to[c * stride + t] = from[t * channels + c];
}

static void leave(const Network *net, const float *from, float *to, long channels, long length) {
    const long stride = stride_of(net);
    for (long t = 0; t < length; t++)
        for (long c = 0; c < channels; c++) to[t * channels + c] = from[c * stride + t];
    memset(to + length * channels, 0, (net->time - length) * channels * sizeof(float));
}

/* ---------------------------------------------------------------- convolutions */

/* What becomes of sums: `bias` is added, and then they are stored; rectified and masked; the same, added to `other` and rectified
   again; masked where `other` is positive; or added to `other`. */
enum { STORE, RECTIFY, JOIN, PASS, ADD };

typedef struct {
    const float *weights;      /* packed: [tiles][inputs][kernel][rows of the tile] */
    const float *bias, *mask;  /* [outputs], or null */
    const float *x, *other;
    float *y;
    uint16_t *open;            /* of JOIN, or null */
    long inputs, outputs, kernel, dilation, length, stride, words;
    int ahead, what;           /* whether windows reach ahead instead of back */
} Convolution;

INLINE void convolve_tile(const Convolution *c, const int rows, const int vectors, long output, long time) {
    const long reach = (c->kernel - 1) * c->dilation;
    const float *x = c->x + time - (c->ahead ? 0 : reach), *w = c->weights + output * c->inputs * c->kernel;
    const long missing = (c->length - 1 - time) / c->dilation + 1; /* taps that the row's end leaves */
    const long begun = c->kernel - 1 - (time + 16 * vectors - 1) / c->dilation;
    const long from = c->ahead || begun < 0 ? 0 : begun, to = c->ahead ? smaller(c->kernel, missing) : c->kernel;
    __m512 sum[TILE][4];
    UNROLL for (int o = 0; o < rows; o++)
        UNROLL for (int v = 0; v < vectors; v++) sum[o][v] = c->bias ? _mm512_set1_ps(c->bias[output + o]) : _mm512_setzero_ps();
    for (long i = 0; i < c->inputs; i++, x += c->stride, w += c->kernel * rows)
        for (long j = from; j < to; j++) {
            __m512 input[4];
            UNROLL for (int v = 0; v < vectors; v++) input[v] = _mm512_loadu_ps(x + j * c->dilation + 16 * v);
            UNROLL for (int o = 0; o < rows; o++) {
                const __m512 weight = _mm512_set1_ps(w[j * rows + o]);
                UNROLL for (int v = 0; v < vectors; v++) sum[o][v] = _mm512_fmadd_ps(weight, input[v], sum[o][v]);
            }
        }
    const __m512 zero = _mm512_setzero_ps();
    UNROLL for (int o = 0; o < rows; o++) {
        const __m512 mask = _mm512_set1_ps(c->mask ? c->mask[output + o] : 1.0f);
        const long line = (output + o) * c->stride + time;
        UNROLL for (int v = 0; v < vectors; v++) {
            const long place = line + 16 * v;
            const __mmask16 real = steps_left(c->length - time - 16 * v);
            __m512 value = sum[o][v], other = zero;
            if (c->what >= JOIN) other = _mm512_loadu_ps(c->other + place);
            /* the maximum in this order keeps a NaN */
            if (c->what == RECTIFY || c->what == JOIN) value = _mm512_mul_ps(_mm512_max_ps(zero, value), mask);
            if (c->what == JOIN && c->open && real)
                c->open[(output + o) * c->words + time / 16 + v] = _mm512_cmp_ps_mask(value, zero, _CMP_GT_OQ);
            if (c->what == JOIN) value = _mm512_max_ps(zero, _mm512_add_ps(value, other));
            if (c->what == PASS) value = _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(other, zero, _CMP_GT_OQ), value, mask);
            if (c->what == ADD) value = _mm512_add_ps(value, other);
            _mm512_mask_storeu_ps(c->y + place, real, value);
        }
    }
}

#define WIDTHS(rows)                                                                                                     \
    static void wide_##rows(const Convolution *c, long output, long time) { convolve_tile(c, rows, 4, output, time); }   \
    static void narrow_##rows(const Convolution *c, long output, long time) { convolve_tile(c, rows, 2, output, time); }
WIDTHS(1) WIDTHS(2) WIDTHS(3) WIDTHS(4) WIDTHS(5) WIDTHS(6)

typedef void Convolve(const Convolution *c, long output, long time);
static Convolve *const convolvers[2][TILE] = {{narrow_1, narrow_2, narrow_3, narrow_4, narrow_5, narrow_6},
                                              {wide_1, wide_2, wide_3, wide_4, wide_5, wide_6}};

/* 0 .. all-1 in tiles of nearly equal height, of at most `most` */
#define FOR_TILES(all, most, first, height)                                                            \
    for (long tiles_##first = ((all) + (most) - 1) / (most), tile_##first = 0, first = 0, height = 0; \
         tile_##first < tiles_##first &&                                                               \
         (height = (all) / tiles_##first + (tile_##first < (all) % tiles_##first), 1);                 \
         first += height, tile_##first++)

static void convolve(const Convolution *c) {
    for (long time = 0; time < c->length; time += 64) {
        const int wide = c->length - time > 32;
        FOR_TILES(c->outputs, TILE, output, height) convolvers[wide][height - 1](c, output, time);
    }
}

/* Weights [outputs, inputs, kernel] as `convolve` reads them; `back`: those of the gradient of the inputs, with the window turned. */
static void pack(const float *weights, float *packed, long outputs, long inputs, long kernel, int back) {
    const long all = back ? inputs : outputs, others = back ? outputs : inputs;
    FOR_TILES(all, TILE, first, height)
        for (long i = 0; i < others; i++)
            for (long j = 0; j < kernel; j++)
                for (long o = first; o < first + height; o++)
                    *packed++ = back ? weights[(i * inputs + o) * kernel + kernel - 1 - j] : weights[(o * inputs + i) * kernel + j];
}

/* ---------------------------------------------------------------- gradients of weights */

/* sums[o][i] += sum over rows and steps of  d[o][t] x[i][t - lag]  for 6 outputs and 4 inputs at most */
typedef struct {
    const float *d[ROWS], *x[ROWS]; /* of each row */
    long length[ROWS];
    long rows, inputs, outputs, kernel, dilation, stride;
    float *sums; /* 32 a tile, in the order in which tiles come */
} Gradient;

INLINE void gradient_tile(const Gradient *g, const int rows, const int columns, long output, long input, long lag, float *sums) {
    __m512 sum[32];
    UNROLL_ALL for (int n = 0; n < 32; n++) sum[n] = _mm512_setzero_ps();
    for (long row = 0; row < g->rows; row++) {
        const float *d = g->d[row] + output * g->stride, *x = g->x[row] + input * g->stride - lag;
        for (long t = lag / 16 * 16; t < g->length[row]; t += 16) {
            __m512 seen[4];
            UNROLL for (int i = 0; i < columns; i++) seen[i] = _mm512_loadu_ps(x + i * g->stride + t);
            UNROLL for (int o = 0; o < rows; o++) {
                __m512 slope = _mm512_loadu_ps(d + o * g->stride + t);
                __asm__("" : "+v"(slope)); /* in a register: loaded for every input again, it would take longer than the product */
                UNROLL for (int i = 0; i < columns; i++)
                    sum[o * columns + i] = _mm512_fmadd_ps(slope, seen[i], sum[o * columns + i]);
            }
        }
    }
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), sum_each(sum)));
    if (rows * columns > 16) _mm512_storeu_ps(sums + 16, _mm512_add_ps(_mm512_loadu_ps(sums + 16), sum_each(sum + 16)));
}

#define COLUMNS(rows, columns)                                                                                       \
    static void gradient_##rows##_##columns(const Gradient *g, long output, long input, long lag, float *sums) {     \
        gradient_tile(g, rows, columns, output, input, lag, sums);                                                   \
    }
#define GRADIENTS(rows) COLUMNS(rows, 1) COLUMNS(rows, 2) COLUMNS(rows, 3) COLUMNS(rows, 4)
GRADIENTS(1) GRADIENTS(2) GRADIENTS(3) GRADIENTS(4) GRADIENTS(5) GRADIENTS(6)

typedef void Gradients(const Gradient *g, long output, long input, long lag, float *sums);
#define FOUR(rows) {gradient_##rows##_1, gradient_##rows##_2, gradient_##rows##_3, gradient_##rows##_4}
static Gradients *const gradients[TILE][4] = {FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6)};

INLINE long sums_of(long outputs, long inputs, long kernel) { return 32 * ((outputs + TILE - 1) / TILE) * ((inputs + 3) / 4) * kernel; }

static void find_gradient(const Gradient *g) {
    float *sums = g->sums;
    FOR_TILES(g->outputs, TILE, output, rows)
        FOR_TILES(g->inputs, 4, input, columns)
            for (long j = 0; j < g->kernel; j++, sums += 32)
                gradients[rows - 1][columns - 1](g, output, input, (g->kernel - 1 - j) * g->dilation, sums);
}

/* The sums of all groups, each `each` floats after the other, as a gradient [outputs, inputs, kernel] */
static void unpack(const float *sums, float *to, long outputs, long inputs, long kernel, long groups, long each) {
    FOR_TILES(outputs, TILE, output, rows)
        FOR_TILES(inputs, 4, input, columns)
            for (long j = 0; j < kernel; j++, sums += 32)
                for (long o = 0; o < rows; o++)
                    for (long i = 0; i < columns; i++) {
                        float sum = 0;
                        for (long group = 0; group < groups; group++) sum += sums[group * each + o * columns + i];
                        to[((output + o) * inputs + input + i) * kernel + j] = sum;
                    }
}

static void add_groups(const float *sums, float *to, long numbers, long groups, long each) {
    for (long n = 0; n < numbers; n++) {
        to[n] = 0;
        for (long group = 0; group < groups; group++) to[n] += sums[group * each + n];
    }
}

/* ---------------------------------------------------------------- rows */

typedef struct {
    const float *first, *second, *match;
} Packed;

typedef struct {
    const Network *net;
    Packed *packed;
    float *scratch, *sums; /* of each part, so many floats apart */
    long scratch_each, sums_each, parts;
} Work;

static Convolution of_row(const Network *net, long row, long block, const float *weights, long inputs, long outputs) {
    return (Convolution){.weights = weights, .inputs = inputs, .outputs = outputs, .kernel = net->block[block].kernel,
                         .dilation = net->block[block].dilation, .length = net->lengths[row], .stride = stride_of(net),
                         .words = (net->time + 15) / 16};
}

static void forward_row(const Work *work, long row, float *const *places) {
    const Network *net = work->net;
    const long length = net->lengths[row], size = net->size;
    float *x = net->kept ? kept_input(net, row, 0) : places[0];
    enter(net, net->x + row * net->time * net->in_size, x, net->in_size, length);
    for (long n = 0; n < net->blocks; n++) {
        const Block *block = net->block + n;
        const long inputs = inputs_of(net, n);
        float *hidden = net->kept ? kept_hidden(net, row, n) : places[2];
        float *y = net->kept ? kept_input(net, row, n + 1) : x == places[0] ? places[1] : places[0];
        clear(net, hidden, size, length);
        clear(net, y, size, length);
        if (block->match) {
            Convolution match = of_row(net, row, n, work->packed[n].match, inputs, size);
            match.kernel = 1, match.bias = block->match_bias, match.x = x, match.y = y, match.what = STORE;
            convolve(&match);
        }
        Convolution first = of_row(net, row, n, work->packed[n].first, inputs, size);
        first.bias = block->first_bias, first.mask = mask_of(net, row, n, 0);
        first.x = x, first.y = hidden, first.what = RECTIFY;
        convolve(&first);
        Convolution second = of_row(net, row, n, work->packed[n].second, size, size);
        second.bias = block->second_bias, second.mask = mask_of(net, row, n, 1);
        second.x = hidden, second.other = block->match ? y : x, second.y = y, second.what = JOIN;
        second.open = net->kept ? opened(net, row, n) : 0;
        convolve(&second);
        x = y;
    }
    leave(net, x, net->y + row * net->time * size, size, length);
}

static void forward_part(const void *data, long part) {
    const Work *work = data;
    const long each = work->scratch_each / 3;
    float *places[3];
    for (long n = 0; n < 3; n++) places[n] = work->scratch + part * work->scratch_each + n * each + MARGIN;
    for (long row = part; row < work->net->rows; row += work->parts) forward_row(work, row, places);
}

/* Where in a group's sums those of a block are: of weights in tiles, and of biases behind them */
typedef struct {
    long first, first_bias, second, second_bias, match, match_bias, end;
} Sums;

static Sums sums_at(const Network *net, long block) {
    long from = 0;
    Sums s = {0};
    for (long n = 0; n <= block; n++) {
        const long inputs = inputs_of(net, n), kernel = net->block[n].kernel, matched = net->block[n].match != 0;
        s.first = from;
        s.first_bias = s.first + sums_of(net->size, inputs, kernel);
        s.second = s.first_bias + net->size;
        s.second_bias = s.second + sums_of(net->size, net->size, kernel);
        s.match = s.second_bias + net->size;
        s.match_bias = s.match + matched * sums_of(net->size, inputs, 1);
        from = s.end = s.match_bias + matched * net->size;
    }
    return s;
}

static void add_steps(float *sums, const float *values, long channels, long stride, long length) {
    for (long c = 0; c < channels; c++) {
        __m512 sum = _mm512_setzero_ps();
        for (long t = 0; t < length; t += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(values + c * stride + t));
        sums[c] += _mm512_reduce_add_ps(sum);
    }
}

/* The gradient of y in place to that of the sum in it, and of what stands in W2's rectifier */
static void open_output(const Network *net, long row, long block, const float *y, float *d, float *inner) {
    const long length = net->lengths[row], stride = stride_of(net), words = (net->time + 15) / 16;
    const uint16_t *open = opened(net, row, block);
    const float *mask = mask_of(net, row, block, 1);
    for (long c = 0; c < net->size; c++)
        for (long t = 0; t < length; t += 16) {
            const long place = c * stride + t;
            const __mmask16 passes = _mm512_cmp_ps_mask(_mm512_loadu_ps(y + place), _mm512_setzero_ps(), _CMP_GT_OQ);
            const __m512 slope = _mm512_maskz_loadu_ps(passes, d + place);
            _mm512_storeu_ps(d + place, slope);
            const __m512 kept = _mm512_maskz_mov_ps(open[c * words + t / 16], slope);
            _mm512_storeu_ps(inner + place, _mm512_mul_ps(kept, _mm512_set1_ps(mask ? mask[c] : 1.0f)));
        }
}

static void backward_rows(const Work *work, long from, long rows, float *scratch, float *sums) {
    const Network *net = work->net;
    const long size = net->size, stride = stride_of(net), most = size > net->in_size ? size : net->in_size;
    float *d[ROWS], *next[ROWS], *inner[ROWS], *middle[ROWS];
    for (long r = 0; r < rows; r++) {
        float **places[4] = {d + r, next + r, inner + r, middle + r};
        for (long n = 0; n < 4; n++, scratch += floats_of(net, most)) {
            *places[n] = scratch + MARGIN;
            clear(net, *places[n], most, net->lengths[from + r]);
        }
        enter(net, net->y + (from + r) * net->time * size, d[r], size, net->lengths[from + r]);
    }
    for (long n = net->blocks - 1; n >= 0; n--) {
        const Block *block = net->block + n;
        const long inputs = inputs_of(net, n);
        const Sums at = sums_at(net, n);
        Gradient of_second = {.rows = rows, .inputs = size, .outputs = size, .kernel = block->kernel,
                              .dilation = block->dilation, .stride = stride, .sums = sums + at.second};
        for (long r = 0; r < rows; r++) {
            const long row = from + r;
            open_output(net, row, n, kept_input(net, row, n + 1), d[r], inner[r]);
            add_steps(sums + at.second_bias, inner[r], size, stride, net->lengths[row]);
            of_second.d[r] = inner[r], of_second.x[r] = kept_hidden(net, row, n), of_second.length[r] = net->lengths[row];
        }
        Gradient of_first = of_second, of_match = of_second;
        find_gradient(&of_second);
        of_first.inputs = of_match.inputs = inputs, of_first.sums = sums + at.first;
        of_match.kernel = 1, of_match.sums = sums + at.match;
        for (long r = 0; r < rows; r++) {
            const long row = from + r;
            Convolution back = of_row(net, row, n, work->packed[n].second, size, size);
            back.ahead = 1, back.x = inner[r], back.other = kept_hidden(net, row, n), back.y = middle[r];
            back.mask = mask_of(net, row, n, 0), back.what = PASS;
            convolve(&back);
            add_steps(sums + at.first_bias, middle[r], size, stride, net->lengths[row]);
            of_first.d[r] = middle[r], of_match.d[r] = d[r];
            of_first.x[r] = of_match.x[r] = kept_input(net, row, n);
        }
        find_gradient(&of_first);
        if (block->match) find_gradient(&of_match);
        for (long r = 0; r < rows; r++) {
            const long row = from + r;
            if (block->match) add_steps(sums + at.match_bias, d[r], size, stride, net->lengths[row]);
            if (!n && !net->d_x) continue;
            if (block->match) {
                Convolution match = of_row(net, row, n, work->packed[n].match, size, inputs);
                match.kernel = 1, match.x = d[r], match.y = next[r], match.what = STORE;
                convolve(&match);
            }
            Convolution back = of_row(net, row, n, work->packed[n].first, size, inputs);
            back.ahead = 1, back.x = middle[r], back.other = block->match ? next[r] : d[r], back.y = next[r], back.what = ADD;
            convolve(&back);
            float *swapped = d[r];
            d[r] = next[r], next[r] = swapped;
        }
    }
    for (long r = 0; net->d_x && r < rows; r++)
        leave(net, d[r], net->d_x + (from + r) * net->time * net->in_size, net->in_size, net->lengths[from + r]);
}

static void backward_part(const void *data, long group) {
    const Work *work = data;
    const long units = (work->net->rows + ROWS - 1) / ROWS;
    for (long unit = units * group / work->parts; unit < units * (group + 1) / work->parts; unit++)
        backward_rows(work, ROWS * unit, smaller(ROWS, work->net->rows - ROWS * unit),
                      work->scratch + group * work->scratch_each, work->sums + group * work->sums_each);
}

/* ---------------------------------------------------------------- what is called from outside */

static int run(const Network *net, int back) {
    Work work = {.net = net, .parts = smaller(net->groups, back ? (net->rows + ROWS - 1) / ROWS : net->rows)};
    long packed = 0;
    for (long n = 0; n < net->blocks; n++)
        packed += (inputs_of(net, n) + net->size) * net->size * net->block[n].kernel + inputs_of(net, n) * net->size;
    work.scratch_each = (back ? 4 * ROWS : 3) * floats_of(net, net->size > net->in_size ? net->size : net->in_size);
    work.sums_each = sums_at(net, net->blocks - 1).end;
    work.packed = malloc(net->blocks * sizeof *work.packed);
    float *memory = malloc((packed + work.parts * work.scratch_each) * sizeof(float));
    work.sums = back ? calloc(work.parts * work.sums_each, sizeof(float)) : 0;
    const int failed = !work.packed || !memory || (back && !work.sums);
    if (!failed) {
        float *place = memory;
        for (long n = 0; n < net->blocks; n++) {
            const Block *block = net->block + n;
            const long inputs = inputs_of(net, n);
            work.packed[n] = (Packed){place, place + inputs * net->size * block->kernel, place + (inputs + net->size) * net->size * block->kernel};
            pack(block->first, place, net->size, inputs, block->kernel, back);
            place += inputs * net->size * block->kernel;
            pack(block->second, place, net->size, net->size, block->kernel, back);
            place += net->size * net->size * block->kernel;
            if (block->match) pack(block->match, place, net->size, inputs, 1, back);
            place += inputs * net->size;
        }
        work.scratch = place;
        share_parts(back ? backward_part : forward_part, &work, work.parts, net->threads);
        for (long n = 0; back && n < net->blocks; n++) {
            const Block *block = net->block + n;
            const Sums at = sums_at(net, n);
            const long size = net->size, inputs = inputs_of(net, n), groups = work.parts, each = work.sums_each;
            unpack(work.sums + at.first, block->d_first, size, inputs, block->kernel, groups, each);
            unpack(work.sums + at.second, block->d_second, size, size, block->kernel, groups, each);
            add_groups(work.sums + at.first_bias, block->d_first_bias, size, groups, each);
            add_groups(work.sums + at.second_bias, block->d_second_bias, size, groups, each);
            if (!block->match) continue;
            unpack(work.sums + at.match, block->d_match, size, inputs, 1, groups, each);
            add_groups(work.sums + at.match_bias, block->d_match_bias, size, groups, each);
        }
    }
    free(work.packed), free(memory), free(work.sums);
    return failed;
}

int temporal_forward(const Network *net) { return run(net, 0); }
int temporal_backward(const Network *net) { return run(net, 1); }
