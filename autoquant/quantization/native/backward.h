/* A recurrence over time, backward: products of the gates' gradients with the recurrent weights, in
 * float or bfloat16, and the gates' derivatives in registers.
 *
 * The panel holds the recurrent weights [D, H], D = G * H, as panel[span of H][D][SPAN * V], and in
 * bfloat16 with pairs along D together. In bfloat16 the weights are codes, which are exact, and each
 * gradient is multiplied by its row's scale before it is rounded.
 */
#ifndef BACKWARD_H
#define BACKWARD_H

#include "recurrence.h"

enum { WIDE = SPAN * V };

INLINE uint16_t bf16_of(float x) { /* to nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

int64_t NAME(panel_size)(int depth, int units, int bf16) {
    int64_t spans = (units + WIDE - 1) / WIDE, even = bf16 ? (depth + 1) / 2 * 2 : depth;
    return spans * even * WIDE * (bf16 ? 2 : 4);
}

/* values [depth, units] -> panel (zeroed by the caller). In bfloat16: values over scales (one for
 * each row, or one), less rounding noise: code + offset, a multiple of 1/2 that is exact. */
void NAME(fill_panel)(const float *values, const float *scales, int per_row, int depth, int units,
                      int bf16, void *panel) {
    int even = bf16 ? (depth + 1) / 2 * 2 : depth;
    for (int n = 0; n < depth; n++)
        for (int u = 0; u < units; u += WIDE) {
            const float *from = values + (size_t)n * units + u;
            size_t span = (size_t)u / WIDE * even * WIDE;
            int count = units - u < WIDE ? units - u : WIDE;
            if (!bf16) {
                memcpy((float *)panel + span + (size_t)n * WIDE, from, (size_t)count * 4);
                continue;
            }
            uint16_t *to = (uint16_t *)panel + span + (size_t)(n / 2) * 2 * WIDE + n % 2;
            float scale = scales[per_row ? n : 0];
            for (int i = 0; i < count; i++) to[2 * i] = bf16_of(from[i] / scale);
        }
}

/* --- derivatives of the cells: gradient of h (not yet quantized) -> of the gates ----------------- */

INLINE void put_gate(float *to, const recurrence *job, place at, int G, int g, vf v) {
    store_lanes(to + at.at * G * job->units + g * job->units + at.unit, v, at.n);
}

/* h before it was quantized: computed again from the saved numbers. */
INLINE vf raw_hidden(const recurrence *job, place at, vf previous) {
    if (job->cell <= LSTM_SIGMOID)
        return gate_of(job, at, 4, 3) * take(job->squashed, at.at, job->units, at);
    if (job->cell == GRU) {
        vf n = gate_of(job, at, 3, 2);
        return n + gate_of(job, at, 3, 1) * (previous - n);
    }
    return gate_of(job, at, 1, 0);
}

INLINE void lstm_back(const recurrence *job, place at, vf dh, vf before) {
    const int plain = job->cell == LSTM;
    vf i = gate_of(job, at, 4, 0), f = gate_of(job, at, 4, 1);
    vf g = gate_of(job, at, 4, 2), o = gate_of(job, at, 4, 3);
    vf s = take(job->squashed, at.at, job->units, at);
    vf dc = take(job->grad_c, at.row, job->units, at);
    dc += dh * o * (plain ? 1.0f - s * s : s * (1.0f - s));
    put_gate(job->grad_gates, job, at, 4, 0, dc * g * i * (1.0f - i));
    put_gate(job->grad_gates, job, at, 4, 1, dc * before * f * (1.0f - f));
    put_gate(job->grad_gates, job, at, 4, 2, dc * i * (plain ? 1.0f - g * g : g * (1.0f - g)));
    put_gate(job->grad_gates, job, at, 4, 3, dh * s * o * (1.0f - o));
    put(job->grad_c, at.row, job->units, at, dc * f);
}

/* Returns the gradient of the previous h that does not pass through the gates. */
INLINE vf gru_back(const recurrence *job, place at, vf dh, vf previous) {
    vf r = gate_of(job, at, 3, 0), z = gate_of(job, at, 3, 1);
    vf n = gate_of(job, at, 3, 2);
    vf product = take(job->squashed, at.at, job->units, at);
    vf dn = dh * (1.0f - z) * (1.0f - n * n);
    vf dr = dn * product * r * (1.0f - r), dz = dh * (previous - n) * z * (1.0f - z);
    put_gate(job->grad_gates, job, at, 3, 0, dr);
    put_gate(job->grad_gates, job, at, 3, 1, dz);
    put_gate(job->grad_gates, job, at, 3, 2, dn);
    put_gate(job->grad_recurrent, job, at, 3, 0, dr);
    put_gate(job->grad_recurrent, job, at, 3, 1, dz);
    put_gate(job->grad_recurrent, job, at, 3, 2, dn * r);
    return dh * z;
}

INLINE void rnn_back(const recurrence *job, place at, vf dh, vf h) {
    vf d = job->cell == RNN_TANH ? dh * (1.0f - h * h) : choose(h > 0.0f, dh, (vf){0});
    put_gate(job->grad_gates, job, at, 1, 0, d);
}

/* The straight-through estimator of the hidden state's quantization (quantization/fake_quantize.py:
 * _FakeQuantize). */
INLINE vf quantize_back(const recurrence *job, place at, vf dh, vf h, vf *dscale) {
    vf rounded = take(job->hidden, at.at, job->units, at), error = rounded - h;
    vi inside = absolute(error) <= splat(0.5001f * job->scale);
    if (!job->masked) inside = splat_int(-1);
    *dscale += dh * choose(inside, error, rounded);
    return choose(inside, dh, (vf){0});
}

/* V units of one row of step t, from the gradient of its quantized h. */
INLINE void unit_back(const recurrence *job, place at, int64_t previous_row, vf dh, vf *dscale) {
    const int H = job->units;
    const float *before = previous_row < 0 ? job->h0 : job->hidden;
    int64_t row = previous_row < 0 ? at.row : previous_row;
    vf previous = job->cell == GRU ? take(before, row, H, at) : (vf){0};
    vf h = raw_hidden(job, at, previous);
    dh = quantize_back(job, at, dh, h, dscale);
    vf direct = {0};
    if (job->cell <= LSTM_SIGMOID)
        lstm_back(job, at, dh, take(previous_row < 0 ? job->c0 : job->memory, row, H, at));
    else if (job->cell == GRU) direct = gru_back(job, at, dh, previous);
    else rnn_back(job, at, dh, h);
    put(job->grad_h, at.row, H, at, direct);
}

/* --- over time, backward -------------------------------------------------------------------------- */

/* Gates' gradients of `rows` rows as bfloat16, each multiplied by its row's scale. */
INLINE void scale_gates(const float *gates, int rows, int depth, const float *scales, uint16_t *to) {
    int even = (depth + 1) / 2 * 2;
    for (int r = 0; r < rows; r++) {
        for (int n = 0; n < depth; n++)
            to[(size_t)r * even + n] = bf16_of(gates[(size_t)r * depth + n] * scales[n]);
        if (even > depth) to[(size_t)r * even + depth] = 0;
    }
}

/* One step. Rows of the batch from row0 on: `rows` are active, `later` of them in the next step too;
 * the gates' gradients of these are in `left`, `width` numbers to a row. */
typedef struct {
    int rows, later, width;
    const char *left;
    size_t size;    /* of a number in left */
    int64_t first;  /* flat row of the step's row 0; -1: only the initial state is left */
    int64_t before; /* the same of the step before; -1: the initial state */
} step;

/* One span of units of R rows from `r0` on. */
INLINE void tile_back(const recurrence *job, const step *now, int span, int r0, int R, vf *dscale) {
    const int H = job->units;
    const char *panel = (const char *)job->panel + (size_t)span * now->width * WIDE * now->size;
    vf sums[FLOAT_ROWS * SPAN] = {0};
    if (r0 < now->later)
        float_tile(R, panel, now->left + (size_t)r0 * now->width * now->size, (size_t)now->width,
                   now->width, job->bf16, sums);
    for (int r = 0; r < R; r++)
        for (int s = 0; s < SPAN && span * WIDE + s * V < H; s++) {
            int unit = span * WIDE + s * V, row = job->row0 + r0 + r;
            place at = {job, now->first + row, row, unit, H - unit < V ? H - unit : V};
            vf dh = sums[r * SPAN + s] + take(job->grad_h, row, H, at);
            if (now->first < 0) {
                put(job->grad_h, row, H, at, dh);
                continue;
            }
            dh += take(job->grad_hidden, at.at, H, at);
            unit_back(job, at, now->before < 0 ? -1 : now->before + row, dh, dscale);
        }
}

/* All rows of a span, one span after another: its part of the weights stays in the cache. */
INLINE void step_back(const recurrence *job, const step *now, vf *dscale) {
    for (int span = 0; span * WIDE < job->units; span++)
        for (int done = 0; done < now->rows;) {
            int end = done < now->later ? now->later : now->rows; /* no tile crosses it */
            int tiles = (end - done + FLOAT_ROWS - 1) / FLOAT_ROWS;
            int R = (end - done + tiles - 1) / tiles;
            tile_back(job, now, span, done, R, dscale);
            done += R;
        }
}

/* The step whose rows start at `first`; `t` < 0: the initial state, before the first step. */
INLINE step step_at(const recurrence *job, int t, int64_t first, int64_t next) {
    const int depth = (job->cell == GRU ? 3 : job->cell > GRU ? 1 : 4) * job->units;
    const float *grads = job->cell == GRU ? job->grad_recurrent : job->grad_gates;
    step now = {.rows = active_rows(job, t < 0 ? 0 : t), .width = depth, .size = 4};
    now.later = t + 1 < job->steps ? active_rows(job, t + 1) : 0;
    now.first = t < 0 ? -1 : first;
    now.before = t > 0 ? first - job->sizes[t - 1] : -1;
    const float *left = grads + (next + job->row0) * depth;
    now.left = (const char *)left;
    if (!job->bf16) return now;
    now.width = (depth + 1) / 2 * 2, now.size = 2;
    uint16_t *scaled = job->scaled + (size_t)job->row0 * now.width;
    if (now.later) scale_gates(left, now.later, depth, job->panel_scales, scaled);
    now.left = (const char *)scaled;
    return now;
}

/* All steps of rows row0 to row1, from the last one to the first. */
void NAME(backward)(const recurrence *job) {
    int64_t first = 0, next = 0;
    double grad_scale = 0;
    for (int t = 0; t < job->steps; t++) first += job->sizes[t];
    for (int t = job->steps - 1; t >= 0; t--) {
        vf dscale = {0};
        next = first;
        first -= job->sizes[t];
        step now = step_at(job, t, first, next);
        step_back(job, &now, &dscale);
        /* each step is one call of the quantizer: LSQ's factor 1 / sqrt(values * max_level) */
        double values = (double)(job->sizes[t] > 0 ? job->sizes[t] : 1) * job->units * job->max_level;
        grad_scale += total(dscale) / (job->scale * __builtin_sqrt(values));
    }
    if (job->steps) {
        step now = step_at(job, -1, 0, 0);
        step_back(job, &now, 0);
    }
    if (job->grad_scale) *job->grad_scale = grad_scale;
}

#endif
