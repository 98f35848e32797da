/* Inference in one call from floats to floats: a small step costs less than several calls from Python. */
#ifndef INFER_H
#define INFER_H

#include "linear.h"
#include "recurrence.h"
#include <stdlib.h>

/* Mirrored by runtime/linear_call.py: LinearCallStruct. */
typedef struct {
    linear_job job;     /* its codes, sums, stride, low and high are those of the inputs */
    const float *inputs; /* [rows, K] */
    int64_t rows;
    float scale;        /* of the inputs */
} linear_call;

/* inputs -> codes, and their product with the weight for the blocks of the job. Returns not 0 where
 * an input is NaN: nothing is computed then. */
int NAME(linear_call)(linear_call *call) {
    linear_job *job = &call->job;
    int columns = job->weight->columns;
    if (NAME(encode)(call->inputs, call->rows, columns, call->scale, job->low, job->high,
                     (uint8_t *)job->codes, job->stride, (int32_t *)job->sums))
        return 1;
    NAME(linear)(job);
    return 0;
}

/* Mirrored by runtime/direction.py: DirectionStruct. One direction of a layer: the outputs of
 * `input_product` are what `recurrence` reads as projected. Weights, scales and grids are set in
 * Python; pointers to rows and workspaces are set here. */
typedef struct {
    linear_call input_product;
    recurrence recurrence;
} direction;

/* Mirrored by runtime/stack_call.py: StackCallStruct. Layers of a stack, their inputs and outputs. A
 * call computes some of the layers, directions and rows; rows, and directions of one layer, do not
 * depend on one another, so that threads can share them out. */
typedef struct {
    const direction *directions;  /* [layers, directions_per_layer] */
    int32_t directions_per_layer; /* 1 or 2 */
    int32_t width;                /* of a state: that of the widest layer */
    int32_t steps, batch;
    const int64_t *sizes;         /* [steps], sequences that are active, or NULL: all of them */
    const float *inputs;          /* [N, I] */
    const float *h0, *c0;         /* [layers * directions_per_layer, batch, width], or NULL: zeros */
    float *h, *c;                 /* out: the same, after the last steps; NULL where there is no c */
    float *hidden;                /* out: [N, directions_per_layer * H] of the last layer */
    float *workspace;             /* outputs of other layers: [2, N, directions_per_layer * width] */
    int32_t layers, layer0, layer1, direction0, direction1, row0, row1;
} stack_call;

enum { CHUNK_ROWS = 48 }; /* rows whose input products are computed at once, if a step has no more */
enum { UNPACKED = 1 << 19, WORTH_UNPACKING = 4 }; /* bytes that stay in a cache; steps */

/* A time step, and the flat row of its row 0. */
typedef struct {
    int t;
    int64_t first;
} time_step;

INLINE int64_t size_at(const stack_call *call, int t) {
    return call->sizes ? call->sizes[t] : call->batch;
}

/* Rows of the call that are active at step t. */
INLINE int rows_at(const stack_call *call, int t) {
    int64_t end = size_at(call, t) < call->row1 ? size_at(call, t) : call->row1;
    return end > call->row0 ? (int)(end - call->row0) : 0;
}

INLINE time_step next_step(const stack_call *call, time_step at, int reverse) {
    if (!reverse) return (time_step){at.t + 1, at.first + size_at(call, at.t)};
    return (time_step){at.t - 1, at.t ? at.first - size_at(call, at.t - 1) : 0};
}

/* The second direction runs from the last step to the first: more and more rows are active. */
INLINE time_step first_step(const stack_call *call, int reverse) {
    time_step at = {0, 0};
    if (reverse)
        while (at.t < call->steps - 1) at = next_step(call, at, 0);
    return at;
}

/* One direction while it runs: rows of the call, numbered from 0, in a workspace of its own. */
typedef struct {
    linear_call input_product;
    recurrence cell;
    uint8_t *codes[2];  /* of the hidden state: before and after a step */
    matrix unpacked;    /* the recurrent weight, where many steps read it */
} run;

INLINE int worth_unpacking(const matrix *m, int steps) {
    return m->bits < 8 && steps >= WORTH_UNPACKING && unpacked_bytes(m) <= UNPACKED;
}

INLINE void *part(uintptr_t *workspace, size_t bytes) {
    uintptr_t start = *workspace;
    *workspace += (bytes + 63) / 64 * 64;
    return (void *)start;
}

/* Divide up the memory at `workspace`; returns its end. With 0 that is the number of bytes needed. */
INLINE uintptr_t divide_workspace(run *r, int rows, int chunk, int steps, uintptr_t workspace) {
    linear_job *job = &r->input_product.job;
    recurrence *cell = &r->cell;
    const size_t state = (size_t)rows * cell->units * 4;
    cell->h = part(&workspace, state), cell->c = part(&workspace, state);
    for (int i = 0; i < 2; i++) r->codes[i] = part(&workspace, (size_t)rows * cell->stride);
    cell->sums = part(&workspace, (size_t)rows * 4);
    job->codes = part(&workspace, (size_t)chunk * job->stride);
    job->sums = part(&workspace, (size_t)chunk * 4);
    job->out = part(&workspace, (size_t)chunk * job->weight->rows * 4);
    size_t bytes = worth_unpacking(cell->weight, steps) ? unpacked_bytes(cell->weight) : 0;
    r->unpacked.codes = part(&workspace, bytes);
    return workspace;
}

/* The initial state of a row, and its codes in both places: a row may become active late. */
INLINE int take_state(run *r, const stack_call *call, int64_t at, int row) {
    const int H = r->cell.units;
    const size_t bytes = (size_t)H * 4;
    const int64_t from = (at * call->batch + call->row0 + row) * call->width;
    float *h = r->cell.h + (size_t)row * H, *c = r->cell.c + (size_t)row * H;
    if (call->h0) memcpy(h, call->h0 + from, bytes);
    else memset(h, 0, bytes);
    if (call->c0) memcpy(c, call->c0 + from, bytes);
    else memset(c, 0, bytes);
    uint8_t *codes = r->codes[0] + row * r->cell.stride;
    int has_nan = start_row(&r->cell, row, codes);
    memcpy(r->codes[1] + row * r->cell.stride, codes, (size_t)r->cell.stride);
    return has_nan;
}

/* The last state of a row; zeros follow the units of a layer that is not the widest. */
INLINE void put_state(const run *r, const stack_call *call, int64_t at, int row) {
    const int H = r->cell.units;
    const int64_t to = (at * call->batch + call->row0 + row) * call->width;
    const size_t bytes = (size_t)H * 4, rest = (size_t)(call->width - H) * 4;
    memcpy(call->h + to, r->cell.h + (size_t)row * H, bytes), memset(call->h + to + H, 0, rest);
    if (!call->c) return;
    memcpy(call->c + to, r->cell.c + (size_t)row * H, bytes), memset(call->c + to + H, 0, rest);
}

/* Input products of `steps` steps from `at` on; not 0 where an input is NaN. */
INLINE int project(run *r, const stack_call *call, const float *inputs, time_step at, int steps,
                   int reverse) {
    linear_job *job = &r->input_product.job;
    const int I = job->weight->columns;
    int has_nan = 0;
    job->row1 = 0;
    for (; steps; steps--, at = next_step(call, at, reverse)) {
        int rows = rows_at(call, at.t);
        has_nan |= NAME(encode)(inputs + (at.first + call->row0) * I, rows, I,
                                r->input_product.scale, job->low, job->high,
                                (uint8_t *)job->codes + job->row1 * job->stride, job->stride,
                                (int32_t *)job->sums + job->row1);
        job->row1 += rows;
    }
    if (!has_nan) NAME(linear)(job);
    return has_nan;
}

/* One step of `rows` rows, whose hidden state is copied to `out`, `width` numbers to a row. */
INLINE int advance(run *r, int rows, float *out, int64_t width) {
    recurrence *cell = &r->cell;
    uint8_t *next = r->codes[1];
    cell->hidden = cell->h; /* the same numbers */
    int has_nan = step_on(cell, 0, rows, r->codes[0], next);
    for (int row = 0; row < rows; row++) {
        cell->sums[row] = close_row(cell, next + row * cell->stride);
        memcpy(out + row * width, cell->h + (size_t)row * cell->units, (size_t)cell->units * 4);
    }
    r->codes[1] = r->codes[0], r->codes[0] = next;
    return has_nan;
}

/* Steps from `at` on whose rows fit into a chunk: at least one. */
INLINE int steps_of(const stack_call *call, time_step at, int left, int chunk, int reverse) {
    int steps = 0;
    for (int rows = 0; steps < left; steps++, at = next_step(call, at, reverse)) {
        rows += rows_at(call, at.t);
        if (steps && rows > chunk) break;
    }
    return steps;
}

INLINE int all_steps(run *r, const stack_call *call, const float *inputs, float *out, int64_t width,
                     int chunk, int reverse) {
    time_step at = first_step(call, reverse);
    int has_nan = 0;
    for (int left = call->steps; left && !has_nan;) {
        int steps = steps_of(call, at, left, chunk, reverse);
        has_nan |= project(r, call, inputs, at, steps, reverse);
        r->cell.projected = r->input_product.job.out;
        for (left -= steps; steps && !has_nan; steps--, at = next_step(call, at, reverse)) {
            int rows = rows_at(call, at.t);
            has_nan |= advance(r, rows, out + (at.first + call->row0) * width, width);
            r->cell.projected += (int64_t)rows * r->input_product.job.weight->rows;
        }
    }
    return has_nan;
}

/* Direction `index` of a layer, from its inputs to its part of `out`. */
static int run_direction(const stack_call *call, int layer, int index, const float *inputs,
                         float *out) {
    const int64_t at = (int64_t)layer * call->directions_per_layer + index;
    const direction *from = call->directions + at;
    const int rows = call->row1 - call->row0, H = from->recurrence.units;
    const int64_t width = (int64_t)call->directions_per_layer * H;
    int64_t most = (int64_t)rows * call->steps;
    int chunk = rows > CHUNK_ROWS ? rows : most < CHUNK_ROWS ? (int)most : CHUNK_ROWS, failed = 0;
    run r = {.input_product = from->input_product, .cell = from->recurrence};
    void *workspace = malloc(divide_workspace(&r, rows, chunk, call->steps, 0) + 64);
    if (!workspace) return 1;
    divide_workspace(&r, rows, chunk, call->steps, ((uintptr_t)workspace + 63) / 64 * 64);
    if (worth_unpacking(r.cell.weight, call->steps)) {
        r.unpacked = unpacked(r.cell.weight, r.unpacked.codes);
        r.cell.weight = &r.unpacked;
    }
    for (int row = 0; row < rows; row++) failed |= take_state(&r, call, at, row);
    if (!failed) failed = all_steps(&r, call, inputs, out + index * H, width, chunk, index);
    for (int row = 0; row < rows && !failed; row++) put_state(&r, call, at, row);
    free(workspace);
    return failed;
}

/* Returns not 0 where a number is NaN (integers cannot hold it), or memory is short: the results must
 * not be used then. */
int NAME(stack_call)(const stack_call *call) {
    const int last = call->steps - 1;
    int64_t rows = first_step(call, 1).first + size_at(call, last);
    const int64_t half = rows * call->directions_per_layer * call->width; /* of the workspace */
    int failed = 0;
    for (int layer = call->layer0; layer < call->layer1 && !failed; layer++) {
        const float *inputs = layer ? call->workspace + (layer & 1) * half : call->inputs;
        float *out = layer + 1 < call->layers ? call->workspace + (~layer & 1) * half : call->hidden;
        for (int i = call->direction0; i < call->direction1; i++)
            failed |= run_direction(call, layer, i, inputs, out);
    }
    return failed;
}

#endif
