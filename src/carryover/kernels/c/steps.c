/* One step of a whole TCN or WaveNet without gradients, on a processor with AVX-512.

   Started one by one, the operations of such a step cost ten times what they compute. Weights are read as they lie, so nothing
   is prepared that could grow old: an output is the product of its row of weights with the inputs of the window, and with
   weight norm the length of that row is summed up while it is there. Each sum is made in one order, so a row's numbers do not
   depend on the rows beside it. All numbers of the structures are of eight bytes: they come as one array. */

#include <math.h>
#include <stdlib.h>

#include "threads.h"
#include "vectors.h"

#define SUMS 16 /* at once */

/* y = b + W x over rows [rows, words of 16], the last of them filled up with zeros; w = g v / |v| where there are lengths g */
typedef struct {
    long inputs, outputs;
    const float *weight, *length, *bias; /* [outputs, inputs], [outputs], [outputs]: the last two may be null */
} Product;

typedef struct {
    Product product;                   /* inputs: features times kernel */
    long features, kernel, dilation;
    float *steps;                      /* [rows, room, features]: where the new step goes, in the first row */
    long room;
} Window;

typedef struct {
    Window first, second;
    Product match; /* weight null: the identity */
} TemporalBlock;

typedef struct {
    long rows, in_size, size, blocks, threads;
    const float *x;
    float *y;
    TemporalBlock block[];
} TemporalNetwork;

typedef struct {
    Window window;
    Product condition, skip, mix; /* weight null: none */
} GatedBlock;

typedef struct {
    long rows, in_size, size, skip_size, out_size, blocks, threads;
    const float *x, *condition;
    float *y;
    Window entry;
    Product hidden, output;
    GatedBlock block[];
} GatedNetwork;

/* ---------------------------------------------------------------- products */

INLINE long whole_words(long numbers) { return (numbers + 15) / 16 * 16; }
INLINE __mmask16 numbers_left(long left) { return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1); }

typedef struct {
    const Product *product;
    const float *x; /* [rows, whole words of inputs] */
    float *y;       /* [rows, outputs] */
    long rows;
    int added;      /* whether to what is in y */
} Task;

/* `rows` times `outputs` sums, 16 in all, of which so many rows and outputs are there; or those of the squares of weights */
INLINE void multiply(const Task *task, const int rows, const int outputs, const int squares, long row, long output, long rows_left,
                     long outputs_left, float *found) {
    const Product *p = task->product;
    const long words = whole_words(p->inputs);
    const float *x[4], *weight[SUMS];
    __m512 sum[SUMS];
    UNROLL for (int r = 0; r < rows; r++) x[r] = task->x + (row + (r < rows_left ? r : 0)) * words;
    UNROLL_ALL for (int o = 0; o < outputs; o++) weight[o] = p->weight + (output + (o < outputs_left ? o : 0)) * p->inputs;
    UNROLL_ALL for (int n = 0; n < SUMS; n++) sum[n] = _mm512_setzero_ps();
    for (long from = 0; from < p->inputs; from += 16) {
        const __mmask16 there = numbers_left(p->inputs - from);
        __m512 input[4];
        if (!squares) UNROLL for (int r = 0; r < rows; r++) input[r] = _mm512_loadu_ps(x[r] + from);
        UNROLL_ALL for (int o = 0; o < outputs; o++) {
            const __m512 w = _mm512_maskz_loadu_ps(there, weight[o] + from);
            UNROLL for (int r = 0; r < rows; r++)
                sum[r * outputs + o] = _mm512_fmadd_ps(w, squares ? w : input[r], sum[r * outputs + o]);
        }
    }
    _mm512_storeu_ps(found, sum_each(sum));
}

typedef void Multiply(const Task *task, long row, long output, long rows, long outputs, float *found);

static void lengths(const Task *task, long row, long output, long rows, long outputs, float *found) {
    multiply(task, 1, 16, 1, row, output, rows, outputs, found);
}
static void one_row(const Task *task, long row, long output, long rows, long outputs, float *found) {
    multiply(task, 1, 16, 0, row, output, rows, outputs, found);
}
static void two_rows(const Task *task, long row, long output, long rows, long outputs, float *found) {
    multiply(task, 2, 8, 0, row, output, rows, outputs, found);
}
static void four_rows(const Task *task, long row, long output, long rows, long outputs, float *found) {
    multiply(task, 4, 4, 0, row, output, rows, outputs, found);
}

/* 16 outputs for all rows */
static void multiply_part(const void *data, long part) {
    const Task *task = data;
    const Product *p = task->product;
    const long first = SUMS * part, there = p->outputs - first < SUMS ? p->outputs - first : SUMS;
    float factor[SUMS], bias[SUMS], found[SUMS];
    if (p->length) lengths(task, 0, first, 1, there, factor);
    for (long o = 0; o < there; o++) {
        factor[o] = p->length ? p->length[first + o] / sqrtf(factor[o]) : 1.0f;
        bias[o] = p->bias ? p->bias[first + o] : 0.0f;
    }
    for (long row = 0; row < task->rows;) {
        const long left = task->rows - row, height = left == 1 ? 1 : left == 2 ? 2 : 4, width = SUMS / height;
        Multiply *sums = height == 1 ? one_row : height == 2 ? two_rows : four_rows;
        for (long output = 0; output < there; output += width) {
            sums(task, row, first + output, left, there - output, found);
            for (long r = 0; r < height && r < left; r++)
                for (long o = output; o < there && o < output + width; o++) {
                    float *y = task->y + (row + r) * p->outputs + first + o;
                    const float value = fmaf(factor[o], found[r * width + o - output], bias[o]);
                    *y = task->added ? *y + value : value;
                }
        }
        row += height;
    }
}

static void multiply_rows(const Product *product, const float *x, float *y, long rows, int added, long threads) {
    const Task task = {product, x, y, rows, added};
    const long parts = (product->outputs + 15) / 16, each = 1 << 17; /* products that are worth a thread */
    const long work = product->inputs * product->outputs * rows / each;
    share_parts(multiply_part, &task, parts, work < threads ? work : threads);
}

/* ---------------------------------------------------------------- windows */

/* Puts the new step of every row [rows, features] behind those before it and finds what the window sees, in the order of the
   weights: [rows, whole words of features times kernel]. */
static void see(const Window *w, const float *new, long stride, float *seen, long rows) {
    const long words = whole_words(w->product.inputs);
    for (long row = 0; row < rows; row++) {
        float *last = w->steps + row * w->room * w->features, *to = seen + row * words;
        for (long i = 0; i < w->features; i++) last[i] = new[row * stride + i];
        for (long k = 0; k < w->kernel; k++) {
            const float *from = last - (w->kernel - 1 - k) * w->dilation * w->features;
            for (long i = 0; i < w->features; i++) to[i * w->kernel + k] = from[i];
        }
        for (long n = w->product.inputs; n < words; n++) to[n] = 0;
    }
}

/* Rows [rows, numbers] to [rows, whole words] */
static void widen(const float *from, float *to, long rows, long numbers) {
    const long words = whole_words(numbers);
    for (long row = 0; row < rows; row++)
        for (long n = 0; n < words; n++) to[row * words + n] = n < numbers ? from[row * numbers + n] : 0;
}

static void rectify(float *values, const float *added, long numbers) {
    for (long n = 0; n < numbers; n += 16) {
        const __mmask16 there = numbers_left(numbers - n);
        __m512 v = _mm512_maskz_loadu_ps(there, values + n);
        if (added) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, added + n));
        /* in this order a NaN stays one */
        _mm512_mask_storeu_ps(values + n, there, _mm512_max_ps(_mm512_setzero_ps(), v));
    }
}

INLINE long larger(long a, long b) { return a > b ? a : b; }

static void apply(const Product *product, const float *x, float *wide, float *y, long rows, int added, long threads) {
    widen(x, wide, rows, product->inputs);
    multiply_rows(product, wide, y, rows, added, threads);
}

/* ---------------------------------------------------------------- what is called from outside */

int temporal_step(const TemporalNetwork *net) {
    const long rows = net->rows, threads = net->threads;
    long most = 0;
    for (long n = 0; n < net->blocks; n++)
        most = larger(most, larger(net->block[n].first.product.inputs, net->block[n].second.product.inputs));
    const long wide = larger(net->in_size, net->size) * rows;
    float *seen = malloc((whole_words(most) * rows + 3 * wide) * sizeof(float));
    if (!seen) return 1;
    float *x = seen + whole_words(most) * rows, *hidden = x + wide, *matched = hidden + wide;
    for (long n = 0; n < rows * net->in_size; n++) x[n] = net->x[n];
    for (long n = 0; n < net->blocks; n++) {
        const TemporalBlock *block = net->block + n;
        float *y = n + 1 < net->blocks ? x : net->y;
        if (block->match.weight) apply(&block->match, x, seen, matched, rows, 0, threads);
        see(&block->first, x, block->first.features, seen, rows);
        multiply_rows(&block->first.product, seen, hidden, rows, 0, threads);
        rectify(hidden, 0, rows * net->size);
        see(&block->second, hidden, net->size, seen, rows);
        multiply_rows(&block->second.product, seen, hidden, rows, 0, threads);
        rectify(hidden, 0, rows * net->size);
        const float *added = block->match.weight ? matched : x;
        rectify(hidden, added, rows * net->size);
        for (long i = 0; i < rows * net->size; i++) y[i] = hidden[i];
    }
    free(seen);
    return 0;
}

int gated_step(const GatedNetwork *net) {
    const long rows = net->rows, size = net->size, threads = net->threads;
    long most = larger(larger(net->entry.product.inputs, net->skip_size), size);
    for (long n = 0; n < net->blocks; n++)
        most = larger(most, larger(net->block[n].window.product.inputs, net->block[n].condition.inputs));
    float *seen = malloc((whole_words(most) + 4 * size + 2 * net->skip_size) * rows * sizeof(float));
    if (!seen) return 1;
    float *x = seen + whole_words(most) * rows, *gates = x + size * rows, *z = gates + 2 * size * rows;
    float *skips = z + size * rows, *hidden = skips + net->skip_size * rows;
    see(&net->entry, net->x, net->in_size, seen, rows);
    multiply_rows(&net->entry.product, seen, x, rows, 0, threads);
    for (long n = 0; n < net->blocks; n++) {
        const GatedBlock *block = net->block + n;
        see(&block->window, x, size, seen, rows);
        multiply_rows(&block->window.product, seen, gates, rows, 0, threads);
        if (block->condition.weight) apply(&block->condition, net->condition, seen, gates, rows, 1, threads);
        for (long row = 0; row < rows; row++)
            for (long i = 0; i < size; i += 16) {
                const __mmask16 there = numbers_left(size - i);
                const __m512 filtered = _mm512_maskz_loadu_ps(there, gates + 2 * size * row + i);
                const __m512 gate = _mm512_maskz_loadu_ps(there, gates + 2 * size * row + size + i);
                _mm512_mask_storeu_ps(z + size * row + i, there, gated(gate, filtered));
            }
        widen(z, seen, rows, size);
        multiply_rows(&block->skip, seen, skips, rows, n > 0, threads);
        if (block->mix.weight) multiply_rows(&block->mix, seen, x, rows, 1, threads);
    }
    rectify(skips, 0, rows * net->skip_size);
    apply(&net->hidden, skips, seen, hidden, rows, 0, threads);
    rectify(hidden, 0, rows * net->skip_size);
    apply(&net->output, hidden, seen, net->y, rows, 0, threads);
    free(seen);
    return 0;
}
