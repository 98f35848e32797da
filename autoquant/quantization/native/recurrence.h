/* A recurrence over time, forward: integer products of the hidden state's codes with the recurrent
 * weights; then gates, cell and rounding to the next codes in registers.
 *
 * Rows are flat: step t has sizes[t] active rows, one after another, and sizes never increase.
 */
#ifndef RECURRENCE_H
#define RECURRENCE_H

#include "functions.h"
#include "pack.h"
#include "tile.h"

enum { LSTM, LSTM_SIGMOID, GRU, RNN_TANH, RNN_RELU };
enum { GROUP = 24, BLOCKS = 8 }; /* rows and blocks whose sums are stored before the gate functions */

/* Mirrored by kernels/recurrent/native_struct.py: RecurrenceJob. Arrays of N rows are
 * [sum of sizes, ...]. */
typedef struct {
    int32_t cell, steps, batch, units;
    int32_t row0, row1;    /* the rows of the batch that this call computes */
    const int64_t *sizes;  /* [steps] */
    const matrix *weight;  /* recurrent [G*H, H] */
    const float *scales;   /* [G*H]: scale of a row times scale of the hidden state */
    const float *candidate_bias; /* [H] or NULL: inside a GRU's reset gate */
    float scale;           /* of the hidden state */
    int32_t low, high, masked;
    const float *projected; /* [N, G*H]: input product and bias */
    float *gates;          /* saved for backward, or NULL: [N, G*H], activated */
    float *hidden;         /* out: [N, H], quantized */
    float *h, *c;          /* in: initial state [B, H], h quantized or not; out: last state */
    float *memory;         /* saved with them: an LSTM's c [N, H] */
    float *squashed;       /*   its tanh(c) [N, H]; a GRU's recurrent part of n [N, H] */
    int32_t *sums;         /* workspace [B] */
    uint8_t *codes;        /* workspace, two times [B, stride] */
    int64_t stride;
    /* backward only */
    const void *panel;     /* recurrent weights for products from the left, see backward.h */
    int32_t bf16;
    const float *panel_scales; /* bf16: [G*H], scale of each row */
    const float *h0, *c0;  /* [B, H] */
    const float *grad_hidden; /* [N, H] */
    float *grad_h, *grad_c;   /* in: of the last state [B, H]; out: of the initial one */
    float *grad_gates;     /* out: [N, G*H], of the projected input */
    float *grad_recurrent; /* out: [N, G*H], of the recurrent product; only a GRU's differs */
    uint16_t *scaled;      /* bf16: workspace [B, G*H] */
    double *grad_scale;    /* out: [1], or NULL */
    float max_level;       /* in multiples of the scale; normalises grad_scale */
} recurrence;

/* V units of one row, while they are computed. */
typedef struct {
    const recurrence *job;
    int64_t at;  /* flat row */
    int row;     /* row of the batch */
    int unit, n; /* first unit and how many */
} place;

INLINE vf take(const float *p, int64_t row, int width, place at) {
    return load_lanes(p + row * width + at.unit, at.n);
}

INLINE void put(float *p, int64_t row, int width, place at, vf v) {
    store_lanes(p + row * width + at.unit, v, at.n);
}

/* Recurrent part of gate g. */
INLINE vf recurrent_part(const recurrence *job, place at, int g, vi sum, float shift) {
    vf scale = load_lanes(job->scales + g * job->units + at.unit, at.n);
    return (to_float(sum) + shift) * scale;
}

INLINE int64_t gate_at(const recurrence *job, place at, int G, int g) {
    return at.at * G * job->units + g * job->units + at.unit;
}

INLINE vf gate_of(const recurrence *job, place at, int G, int g) {
    return load_lanes(job->gates + gate_at(job, at, G, g), at.n);
}

INLINE vf projected_of(const recurrence *job, place at, int G, int g) {
    return load_lanes(job->projected + gate_at(job, at, G, g), at.n);
}

INLINE void save_gate(const recurrence *job, place at, int G, int g, vf v) {
    if (job->gates) store_lanes(job->gates + gate_at(job, at, G, g), v, at.n);
}

/* An LSTM's gates and cell; leaves the output gate in sums[0], for lstm_hidden. */
INLINE void lstm_gates(const recurrence *job, place at, vi *sums, float shift) {
    const int plain = job->cell == LSTM;
    vf a[4];
    for (int g = 0; g < 4; g++) {
        vf x = projected_of(job, at, 4, g) + recurrent_part(job, at, g, sums[g], shift);
        a[g] = g == 2 && plain ? hyperbolic(x) : sigmoid(g == 1 && !plain ? x + 1.0f : x);
        save_gate(job, at, 4, g, a[g]);
    }
    vf c = a[1] * take(job->c, at.row, job->units, at) + a[0] * a[2];
    put(job->c, at.row, job->units, at, c);
    sums[0] = (vi)a[3];
}

INLINE vf lstm_hidden(const recurrence *job, place at, vf output) {
    vf c = take(job->c, at.row, job->units, at);
    vf squashed = job->cell == LSTM ? hyperbolic(c) : sigmoid(c);
    if (job->gates) {
        put(job->memory, at.at, job->units, at, c);
        put(job->squashed, at.at, job->units, at, squashed);
    }
    return output * squashed;
}

INLINE vf gru_step(const recurrence *job, place at, const vi *sums, float shift) {
    vf product[3], a[2];
    for (int g = 0; g < 3; g++) product[g] = recurrent_part(job, at, g, sums[g], shift);
    for (int g = 0; g < 2; g++) {
        a[g] = sigmoid(projected_of(job, at, 3, g) + product[g]);
        save_gate(job, at, 3, g, a[g]);
    }
    if (job->candidate_bias) product[2] += load_lanes(job->candidate_bias + at.unit, at.n);
    vf n = hyperbolic(projected_of(job, at, 3, 2) + a[0] * product[2]);
    save_gate(job, at, 3, 2, n);
    if (job->gates) put(job->squashed, at.at, job->units, at, product[2]);
    return n + a[1] * (take(job->h, at.row, job->units, at) - n);
}

INLINE vf rnn_step(const recurrence *job, place at, vi sum, float shift) {
    vf x = projected_of(job, at, 1, 0) + recurrent_part(job, at, 0, sum, shift);
    vf h = job->cell == RNN_TANH ? hyperbolic(x) : choose(x < 0.0f, (vf){0}, x);
    save_gate(job, at, 1, 0, h);
    return h;
}

/* Round V units of h to codes; returns the lanes that are NaN. */
INLINE vi put_hidden(const recurrence *job, place at, vf h, uint8_t *codes) {
    vf level = at_least(at_most(h / job->scale, splat((float)job->high)), splat((float)job->low));
    level = nearest(level);
    vf value = level * job->scale;
    put(job->h, at.row, job->units, at, value);
    put(job->hidden, at.at, job->units, at, value);
    store_bytes(codes + at.unit, to_int(level) - job->low); /* close_row clears the bytes behind the units */
    return h != h;
}

/* The rows of step t that this call has, and where the first one lies in the flat arrays. */
INLINE int active_rows(const recurrence *job, int t) {
    int64_t end = job->sizes[t] < job->row1 ? job->sizes[t] : job->row1;
    return end > job->row0 ? (int)(end - job->row0) : 0;
}

/* The sum of a row of codes; the padding behind them becomes 0. */
INLINE int32_t close_row(const recurrence *job, uint8_t *codes) {
    int32_t sum = 0;
    memset(codes + job->units, 0, (size_t)(job->stride - job->units));
    for (int k = 0; k < job->units; k++) sum += codes[k];
    return sum + job->low * job->units;
}

INLINE place place_of(const recurrence *job, int block, int gate, int64_t flat, int row) {
    const matrix *m = job->weight;
    return (place){job, flat, row, first_row(m, block, gate), rows_in(m, block, gate)};
}

/* The epilogue of one row and one block: gate functions, cell, next codes; lanes that are NaN. */
INLINE vi finish(int G, const recurrence *job, int block, int64_t flat, int row, const vi *sums,
                 uint8_t *next) {
    const float shift = job->weight->offset * (float)job->sums[row];
    if (G == 3) {
        place at = place_of(job, block, 0, flat, row);
        return put_hidden(job, at, gru_step(job, at, sums, shift), next);
    }
    vi nan = {0};
    for (int g = 0; g < 4; g++) { /* four groups of a plain network's units */
        place at = place_of(job, block, g, flat, row);
        if (at.n) nan |= put_hidden(job, at, rnn_step(job, at, sums[g], shift), next);
    }
    return nan;
}

/* The same of an LSTM's blocks b0 to b0 + blocks. The operations after the cell depend on one another:
 * in a second loop, the processor can compute several blocks at a time. */
INLINE vi finish_lstm(const recurrence *job, int b0, int blocks, int64_t flat, int row, int r,
                      vi (*sums)[GROUP * 4], uint8_t *next) {
    const float shift = job->weight->offset * (float)job->sums[row];
    vi nan = {0};
    for (int b = 0; b < blocks; b++)
        lstm_gates(job, place_of(job, b0 + b, 0, flat, row), sums[b] + r * 4, shift);
    for (int b = 0; b < blocks; b++) {
        place at = place_of(job, b0 + b, 0, flat, row);
        nan |= put_hidden(job, at, lstm_hidden(job, at, (vf)sums[b][r * 4]), next);
    }
    return nan;
}

/* Bring the memory that `finish` reads and writes into the cache while the products run. */
INLINE void prefetch(int G, const recurrence *job, int block, int64_t flat, int row) {
    const int unit = first_row(job->weight, block, 0), gates = G == 4 && job->cell > GRU ? 1 : G;
    for (int g = 0; g < gates; g++) {
        int64_t at = (flat * gates + g) * job->units + unit;
        __builtin_prefetch(job->projected + at, 0);
        if (job->gates) __builtin_prefetch(job->gates + at, 1);
    }
    int64_t at = flat * job->units + unit;
    __builtin_prefetch(job->hidden + at, 1);
    if (job->memory) __builtin_prefetch(job->memory + at, 1);
    if (job->squashed) __builtin_prefetch(job->squashed + at, 1);
    (void)row;
}

/* One step of `rows` rows from row0 on. Products of a few blocks are computed before their epilogues,
 * so that these access consecutive memory. */
INLINE vi step_rows(int G, const recurrence *job, int64_t first, int rows, const uint8_t *now,
                    uint8_t *next) {
    const matrix *m = job->weight;
    const int burst = burst_of(m->max_code, job->high - job->low);
    vi sums[BLOCKS][GROUP * 4], nan = {0};
    for (int b0 = 0; b0 < m->blocks; b0 += BLOCKS)
        for (int r0 = 0; r0 < rows; r0 += GROUP) {
            int count = rows - r0 < GROUP ? rows - r0 : GROUP;
            int blocks = m->blocks - b0 < BLOCKS ? m->blocks - b0 : BLOCKS;
            const int row = job->row0 + r0;
            for (int b = 0; b < blocks; b++) {
                for (int r = 0; r < count; r++) prefetch(G, job, b0 + b, first + r0 + r, row + r);
                block_dots(m, b0 + b, now + row * job->stride, (size_t)job->stride, count,
                           job->low, job->sums + row, burst, sums[b]);
            }
            for (int r = 0; r < count; r++) {
                const int64_t flat = first + r0 + r;
                uint8_t *to = next + (row + r) * job->stride;
                if (G == 4 && job->cell <= LSTM_SIGMOID)
                    nan |= finish_lstm(job, b0, blocks, flat, row + r, r, sums, to);
                else
                    for (int b = 0; b < blocks; b++)
                        nan |= finish(G, job, b0 + b, flat, row + r, sums[b] + r * G, to);
            }
        }
    return nan;
}

/* A step for any number of gates; not 0 where a hidden state is NaN. Not inlined: training and
 * inference share one copy, and so its roundings. */
static __attribute__((noinline)) int step_on(const recurrence *job, int64_t first, int rows,
                                             const uint8_t *now, uint8_t *next) {
    return any(job->weight->gates == 3 ? step_rows(3, job, first, rows, now, next)
                                       : step_rows(4, job, first, rows, now, next));
}

/* Codes of the initial state of one row, which is quantized in place; not 0 where it is NaN. */
INLINE int start_row(const recurrence *job, int row, uint8_t *codes) {
    float *h = job->h + (int64_t)row * job->units;
    int has_nan = encode_row(h, job->units, job->scale, 0.0f, job->low, job->high, job->low,
                         (int8_t *)codes);
    for (int k = 0; k < job->units; k++) h[k] = (float)(codes[k] + job->low) * job->scale;
    job->sums[row] = close_row(job, codes);
    return has_nan;
}

/* All steps of rows row0 to row1. Returns not 0 where a hidden state became NaN: integers cannot
 * hold a NaN, so the result must not be used then. */
int NAME(forward)(const recurrence *job) {
    int64_t start = 0;
    uint8_t *codes[2] = {job->codes, job->codes + job->batch * job->stride};
    int has_nan = 0;
    for (int r = job->row0; r < job->row1; r++) has_nan |= start_row(job, r, codes[0] + r * job->stride);
    for (int t = 0; t < job->steps; start += job->sizes[t++]) {
        int rows = active_rows(job, t);
        const uint8_t *now = codes[t & 1];
        uint8_t *next = codes[~t & 1];
        has_nan |= step_on(job, start + job->row0, rows, now, next);
        for (int r = job->row0; r < job->row0 + rows; r++)
            job->sums[r] = close_row(job, next + r * job->stride);
    }
    return has_nan;
}

#endif
