/* Fake quantization and cross-entropy, each in one pass over rows that stay in the caches. */
#ifndef POINTWISE_H
#define POINTWISE_H

#include "functions.h"

/* y = (clip(round(x / s - o)) + o) * s, in the order of quantization/codes.py: encode and decode, bit
 * for bit. scales: one for each row, or one for all (per_row = 0). */
void NAME(fake_quantize)(const float *x, const float *scales, int per_row, int64_t rows,
                         int64_t columns, int low, int high, float offset, float *y) {
    for (int64_t r = 0; r < rows; r++, x += columns, y += columns) {
        float scale = scales[per_row ? r : 0];
        for (int64_t k = 0; k < columns; k += V) {
            int n = columns - k < V ? (int)(columns - k) : V;
            vf code = load_lanes(x + k, n) / scale - offset;
            code = nearest(at_least(at_most(code, splat((float)high)), splat((float)low)));
            store_lanes(y + k, (code + offset) * scale, n);
        }
    }
}

enum { SHORT = 4096 }; /* columns whose sum in float32 is exact enough; a multiple of V */

/* The gradients of that, see quantization/fake_quantize.py: _FakeQuantize. grad_scales [rows], or NULL:
 * sums over a row of gradient times (y - x), or times y where clipped; the caller divides by the scale
 * and normalises. */
void NAME(fake_quantize_back)(const float *grad, const float *x, const float *y,
                              const float *scales, int per_row, int64_t rows, int64_t columns,
                              int masked, float *grad_x, float *grad_scales) {
    for (int64_t r = 0; r < rows; r++) {
        vf sum = {0}, limit = splat(0.5001f * scales[per_row ? r : 0]);
        double earlier = 0; /* sums of the columns before */
        for (int64_t k = 0; k < columns; k += V) {
            int n = columns - k < V ? (int)(columns - k) : V;
            int64_t at = r * columns + k;
            if (k % SHORT == 0) earlier += total(sum), sum = (vf){0};
            vf g = load_lanes(grad + at, n), rounded = load_lanes(y + at, n);
            vf error = rounded - load_lanes(x + at, n);
            vi inside = masked ? absolute(error) <= limit : splat_int(-1);
            sum += g * choose(inside, error, rounded);
            store_lanes(grad_x + at, choose(inside, g, (vf){0}), n);
        }
        if (grad_scales) grad_scales[r] = (float)(earlier + total(sum));
    }
}

/* Sum of -log softmax(row)[target] over rows whose target is not `ignored`. Where `weight` is not 0
 * the logits are overwritten by the gradient of weight times that sum. Returns NaN for a target that
 * is out of range. */
double NAME(cross_entropy)(float *logits, const int64_t *targets, int64_t rows, int64_t classes,
                           int64_t ignored, float weight) {
    double loss = 0;
    for (int64_t r = 0; r < rows; r++, logits += classes) {
        const int64_t target = targets[r];
        if (target == ignored) {
            if (weight != 0.0f) memset(logits, 0, (size_t)classes * 4);
            continue;
        }
        if (target < 0 || target >= classes) return __builtin_nan("");
        vf top = splat(logits[0]), sum = {0};
        float largest = logits[0];
        int64_t whole = classes / V * V;
        for (int64_t k = 0; k < whole; k += V) top = at_least(load(logits + k), top);
        for (int i = 0; i < V; i++) largest = top[i] > largest ? top[i] : largest;
        for (int64_t k = whole; k < classes; k++)
            largest = logits[k] > largest ? logits[k] : largest;
        const float target_logit = logits[target];
        for (int64_t k = 0; k < classes; k += V) {
            int n = classes - k < V ? (int)(classes - k) : V;
            vf e = exponential(load_lanes(logits + k, n) - largest);
            if (weight != 0.0f) store_lanes(logits + k, e, n);
            if (n < V)
                for (int i = n; i < V; i++) e[i] = 0.0f;
            sum += e;
        }
        float all = total(sum);
        loss += __builtin_log(all) - (double)(target_logit - largest);
        if (weight == 0.0f) continue;
        for (int64_t k = 0; k < classes; k += V) {
            int n = classes - k < V ? (int)(classes - k) : V;
            store_lanes(logits + k, load_lanes(logits + k, n) * (weight / all), n);
        }
        logits[target] -= weight;
    }
    return loss;
}

#endif
