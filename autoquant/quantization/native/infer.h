/* One call from floats to floats: for inference, where the way through Python costs more than the
 * arithmetic of a small step. */
#ifndef INFER_H
#define INFER_H

#include "linear.h"
#include "recurrence.h"
#include <stdlib.h>

/* Mirrored by runtime/affine.py: AffineCall. */
typedef struct {
    linear_job job;     /* its codes, sums, stride, low and high are those of the inputs */
    const float *inputs; /* [rows, K] */
    int64_t rows;
    float scale;        /* step size of the inputs */
} affine_call;

/* inputs -> codes, and their product with the weight for the blocks of the job. Returns not 0 where
 * an input is NaN: nothing is computed then. */
int NAME(affine)(affine_call *call) {
    linear_job *job = &call->job;
    int columns = job->weight->columns;
    if (NAME(encode)(call->inputs, call->rows, columns, call->scale, job->low, job->high,
                     (uint8_t *)job->codes, job->stride, (int32_t *)job->sums))
        return 1;
    NAME(linear)(job);
    return 0;
}

/* Mirrored by runtime/direction.py: DirectionStruct. One direction of a layer: `affine` fills what
 * `recurrence` reads. Sizes, weights and rules are set; pointers to rows and rooms are set here. */
typedef struct {
    affine_call affine;
    recurrence recurrence;
} direction;

/* Mirrored by runtime/flow.py: Flow. Layers of a stack, and what flows through them. A call computes
 * some of the layers, directions and rows; rows, and directions of one layer, do not depend on one
 * another, so that threads can share them out. */
typedef struct {
    const direction *directions; /* [layers, ways] */
    int32_t ways;                /* directions of a layer: 1 or 2 */
    int32_t width;               /* of a state: that of the widest layer */
    int32_t steps, batch;
    const int64_t *sizes;        /* [steps], sequences that are active, or NULL: all of them */
    const float *inputs;         /* [N, I] */
    const float *h0, *c0;        /* [layers * ways, batch, width], or NULL: zeros */
    float *h, *c;                /* out: the same, after the last steps; NULL where there is no c */
    float *hidden;               /* out: [N, ways * H] of the last layer */
    float *between;              /* room for what flows between layers: [2, N, ways * width] */
    int32_t layers, layer0, layer1, way0, way1, row0, row1;
} flow;

enum { CHUNK_ROWS = 48 }; /* rows whose input products are made at once, if a step has no more */
enum { UNPACKED = 1 << 19, WORTH_UNPACKING = 4 }; /* bytes that stay in a cache; steps */

/* A step on the way through time, and the flat row of its row 0. */
typedef struct {
    int t;
    int64_t first;
} moment;

INLINE int64_t size_at(const flow *f, int t) { return f->sizes ? f->sizes[t] : f->batch; }

/* Rows of the call that are active at step t. */
INLINE int rows_at(const flow *f, int t) {
    int64_t end = size_at(f, t) < f->row1 ? size_at(f, t) : f->row1;
    return end > f->row0 ? (int)(end - f->row0) : 0;
}

INLINE moment after(const flow *f, moment at, int back) {
    if (!back) return (moment){at.t + 1, at.first + size_at(f, at.t)};
    return (moment){at.t - 1, at.t ? at.first - size_at(f, at.t - 1) : 0};
}

/* The second direction walks from the last step to the first: more and more rows are active. */
INLINE moment beginning(const flow *f, int back) {
    moment at = {0, 0};
    if (back)
        while (at.t < f->steps - 1) at = after(f, at, 0);
    return at;
}

/* One direction on its way: rows of the call, numbered from 0, in rooms of their own. */
typedef struct {
    affine_call affine;
    recurrence cell;
    uint8_t *codes[2]; /* of the hidden state: now and next */
    matrix loose;      /* the recurrent weight, unpacked, where many steps share it */
} walk;

INLINE int worth_unpacking(const matrix *m, int steps) {
    return m->bits < 8 && steps >= WORTH_UNPACKING && loose_bytes(m) <= UNPACKED;
}

INLINE void *part(uintptr_t *room, size_t bytes) {
    uintptr_t start = *room;
    *room += (bytes + 63) / 64 * 64;
    return (void *)start;
}

/* Deal out the memory at `room`; returns its end. From 0 on that is how much is needed. */
INLINE uintptr_t settle(walk *w, int rows, int chunk, int steps, uintptr_t room) {
    linear_job *job = &w->affine.job;
    recurrence *cell = &w->cell;
    const size_t state = (size_t)rows * cell->units * 4;
    cell->h = part(&room, state), cell->c = part(&room, state);
    for (int i = 0; i < 2; i++) w->codes[i] = part(&room, (size_t)rows * cell->stride);
    cell->sums = part(&room, (size_t)rows * 4);
    job->codes = part(&room, (size_t)chunk * job->stride);
    job->sums = part(&room, (size_t)chunk * 4);
    job->out = part(&room, (size_t)chunk * job->weight->rows * 4);
    w->loose.codes = part(&room, worth_unpacking(cell->weight, steps) ? loose_bytes(cell->weight) : 0);
    return room;
}

/* The initial state of row r, and its codes in both rooms: a row may come in late. */
INLINE int enter(walk *w, const flow *f, int64_t at, int r) {
    const int H = w->cell.units;
    const size_t bytes = (size_t)H * 4;
    const int64_t from = (at * f->batch + f->row0 + r) * f->width;
    float *h = w->cell.h + (size_t)r * H, *c = w->cell.c + (size_t)r * H;
    if (f->h0) memcpy(h, f->h0 + from, bytes);
    else memset(h, 0, bytes);
    if (f->c0) memcpy(c, f->c0 + from, bytes);
    else memset(c, 0, bytes);
    uint8_t *codes = w->codes[0] + r * w->cell.stride;
    int odd = start_row(&w->cell, r, codes);
    memcpy(w->codes[1] + r * w->cell.stride, codes, (size_t)w->cell.stride);
    return odd;
}

/* The last state of row r; behind a narrower layer's units are zeros. */
INLINE void leave(const walk *w, const flow *f, int64_t at, int r) {
    const int H = w->cell.units;
    const int64_t to = (at * f->batch + f->row0 + r) * f->width;
    const size_t bytes = (size_t)H * 4, rest = (size_t)(f->width - H) * 4;
    memcpy(f->h + to, w->cell.h + (size_t)r * H, bytes), memset(f->h + to + H, 0, rest);
    if (!f->c) return;
    memcpy(f->c + to, w->cell.c + (size_t)r * H, bytes), memset(f->c + to + H, 0, rest);
}

/* Input products of `steps` steps from `at` on; not 0 where an input is NaN. */
INLINE int project(walk *w, const flow *f, const float *inputs, moment at, int steps, int back) {
    linear_job *job = &w->affine.job;
    const int I = job->weight->columns;
    int odd = 0;
    job->row1 = 0;
    for (; steps; steps--, at = after(f, at, back)) {
        int rows = rows_at(f, at.t);
        odd |= NAME(encode)(inputs + (at.first + f->row0) * I, rows, I, w->affine.scale, job->low,
                            job->high, (uint8_t *)job->codes + job->row1 * job->stride, job->stride,
                            (int32_t *)job->sums + job->row1);
        job->row1 += rows;
    }
    if (!odd) NAME(linear)(job);
    return odd;
}

/* One step of `rows` rows, whose hidden state goes to `out`, `width` numbers to a row. */
INLINE int advance(walk *w, int rows, float *out, int64_t width) {
    recurrence *cell = &w->cell;
    uint8_t *next = w->codes[1];
    cell->hidden = cell->h; /* the same numbers */
    int odd = step_on(cell, 0, rows, w->codes[0], next);
    for (int r = 0; r < rows; r++) {
        cell->sums[r] = close_row(cell, next + r * cell->stride);
        memcpy(out + r * width, cell->h + (size_t)r * cell->units, (size_t)cell->units * 4);
    }
    w->codes[1] = w->codes[0], w->codes[0] = next;
    return odd;
}

/* Steps from `at` on whose rows fit into a chunk: at least one. */
INLINE int steps_of(const flow *f, moment at, int left, int chunk, int back) {
    int steps = 0;
    for (int rows = 0; steps < left; steps++, at = after(f, at, back)) {
        rows += rows_at(f, at.t);
        if (steps && rows > chunk) break;
    }
    return steps;
}

INLINE int all_steps(walk *w, const flow *f, const float *inputs, float *out, int64_t width,
                     int chunk, int back) {
    moment at = beginning(f, back);
    int odd = 0;
    for (int left = f->steps; left && !odd;) {
        int steps = steps_of(f, at, left, chunk, back);
        odd |= project(w, f, inputs, at, steps, back);
        w->cell.projected = w->affine.job.out;
        for (left -= steps; steps && !odd; steps--, at = after(f, at, back)) {
            int rows = rows_at(f, at.t);
            odd |= advance(w, rows, out + (at.first + f->row0) * width, width);
            w->cell.projected += (int64_t)rows * w->affine.job.weight->rows;
        }
    }
    return odd;
}

/* Direction `way` of a layer, from its inputs to its share of `out`. */
static int one_way(const flow *f, int layer, int way, const float *inputs, float *out) {
    const int64_t at = (int64_t)layer * f->ways + way;
    const direction *own = f->directions + at;
    const int rows = f->row1 - f->row0, H = own->recurrence.units;
    int64_t most = (int64_t)rows * f->steps;
    int chunk = rows > CHUNK_ROWS ? rows : most < CHUNK_ROWS ? (int)most : CHUNK_ROWS, odd = 0;
    walk w = {.affine = own->affine, .cell = own->recurrence};
    void *room = malloc(settle(&w, rows, chunk, f->steps, 0) + 64);
    if (!room) return 1;
    settle(&w, rows, chunk, f->steps, ((uintptr_t)room + 63) / 64 * 64);
    if (worth_unpacking(w.cell.weight, f->steps)) {
        w.loose = loosened(w.cell.weight, w.loose.codes);
        w.cell.weight = &w.loose;
    }
    for (int r = 0; r < rows; r++) odd |= enter(&w, f, at, r);
    if (!odd) odd = all_steps(&w, f, inputs, out + way * H, (int64_t)f->ways * H, chunk, way);
    for (int r = 0; r < rows && !odd; r++) leave(&w, f, at, r);
    free(room);
    return odd;
}

/* Returns not 0 where a number is NaN (integers cannot carry it on), or memory is short: what was
 * computed is of no use then. */
int NAME(flow)(const flow *f) {
    int64_t last = beginning(f, 1).first, rows = last + size_at(f, f->steps - 1), odd = 0;
    for (int layer = f->layer0; layer < f->layer1 && !odd; layer++) {
        int64_t other = rows * f->ways * f->width; /* layers take turns with the two rooms */
        const float *inputs = layer ? f->between + (layer & 1) * other : f->inputs;
        float *out = layer + 1 < f->layers ? f->between + (~layer & 1) * other : f->hidden;
        for (int way = f->way0; way < f->way1; way++) odd |= one_way(f, layer, way, inputs, out);
    }
    return (int)odd;
}

#endif
