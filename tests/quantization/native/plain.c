/* The portable kernels against plain loops; for a processor that Python's tests do not run on.
 *
 *     aarch64-linux-gnu-gcc -O3 -std=gnu11 -Wno-psabi -static -I autoquant/quantization/native plain.c -lm
 *     qemu-aarch64-static ./a.out
 *
 * Prints what was compared and the largest errors; ends with 1 where one is too large. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "portable.c"

#define PLAIN static __attribute__((noinline, optimize("O1"))) /* GCC 12 for Arm breaks on -O3 here */

static int failures = 0;
static uint64_t state = 1;

static uint32_t draw(void) { /* 32 bits of a linear congruence */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}
static float number(void) { return (float)draw() / 2147483648.0f - 1.0f; } /* in [-1, 1) */
static int between(int low, int high) { return low + (int)(draw() % (uint32_t)(high - low + 1)); }

static void *allocate(size_t bytes) { /* not zero: nothing may depend on that */
    void *p = malloc(bytes + 64);
    memset(p, 0xa5, bytes + 64);
    return p;
}
static float *numbers(size_t count, float spread) {
    float *p = allocate(count * 4);
    for (size_t i = 0; i < count; i++) p[i] = number() * spread;
    return p;
}

static void check(int good, const char *what, int a, int b, int c, double error) {
    if (good) return;
    failures++;
    if (failures < 20) printf("WRONG %s (%d, %d, %d): %g\n", what, a, b, c, error);
}

/* --- a weight of random codes: in natural order, and packed as native/matrix.py does ------------- */

typedef struct {
    matrix m;
    int8_t *codes; /* [rows, columns] */
} weight;

static weight weight_of(int rows, int columns, int gates, int bits) {
    weight w = {.codes = allocate((size_t)rows * columns)};
    int low = -(1 << (bits - 1)), high = -low - 1;
    for (int i = 0; i < rows * columns; i++) w.codes[i] = (int8_t)between(low, high);
    matrix *m = &w.m;
    *m = (matrix){.rows = rows, .columns = columns, .bits = bits, .low = low, .max_code = -low};
    m->offset = bits <= 3 ? 0.5f : 0.0f;
    if (gates == 1) {
        m->gates = 4, m->gate_stride = V, m->block_stride = 4 * V;
        m->blocks = (rows + 4 * V - 1) / (4 * V);
    } else {
        m->gates = gates, m->gate_stride = rows / gates, m->block_stride = V;
        m->blocks = (rows / gates + V - 1) / V;
    }
    m->codes = allocate((size_t)NAME(packed_size)(m));
    m->sums = allocate((size_t)m->blocks * m->gates * V * 4);
    source from = {.codes = w.codes, .high = high};
    from.row = allocate((size_t)columns + 64);
    from.panel = allocate((size_t)(columns + 64) * 4 * V);
    NAME(pack)(m, &from);
    free(from.row), free(from.panel);
    return w;
}

static double level(const weight *w, int row, int column) {
    return w->codes[(size_t)row * w->m.columns + column] + (double)w->m.offset;
}

static void forget(weight *w) { free(w->codes), free(w->m.codes), free(w->m.sums); }

/* --- linear, encode ------------------------------------------------------------------------------- */

PLAIN double test_linear(int rows, int columns, int units, int bits) {
    weight w = weight_of(units, columns, 1, bits);
    float *x = numbers((size_t)rows * columns, 20.0f), *bias = numbers((size_t)units, 5.0f);
    float *scales = numbers((size_t)units, 0.1f), *out = allocate((size_t)rows * units * 4);
    int64_t stride = (columns + 31) / 32 * 32;
    uint8_t *codes = allocate((size_t)(rows * stride));
    int32_t *sums = allocate((size_t)rows * 4);
    int has_nan = NAME(encode)(x, rows, columns, 0.1f, -128, 127, codes, stride, sums);
    check(!has_nan, "encode says NaN", rows, columns, bits, 0);
    linear_job job = {&w.m, scales, bias, codes, sums, stride, -128, 127, out, 0, rows, 0, w.m.blocks};
    NAME(linear)(&job);
    double worst = 0;
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < units; n++) {
            double sum = 0, size = 1;
            for (int k = 0; k < columns; k++) {
                double code = rintf(x[r * columns + k] / 0.1f);
                code = code > 127 ? 127 : code < -128 ? -128 : code;
                sum += code * level(&w, n, k);
                size += fabs(code * level(&w, n, k));
            }
            double error = fabs(sum * scales[n] + bias[n] - out[r * units + n]);
            worst = fmax(worst, error / (size * fabs(scales[n]) + fabs(bias[n])));
        }
    check(worst < 1e-6, "linear", rows, columns, bits, worst);
    x[0] = NAN;
    check(NAME(encode)(x, rows, columns, 0.1f, -128, 127, codes, stride, sums), "NaN", rows, columns,
          bits, 0);
    free(x), free(bias), free(scales), free(out), free(codes), free(sums), forget(&w);
    return worst;
}

/* --- forward -------------------------------------------------------------------------------------- */

static double sigma(double x) { return 1 / (1 + exp(-x)); }

/* One unit of one row from the last codes of h; changes *c and returns h before rounding. */
static double cell_step(int cell, const double *x, const double *own, double extra, double h,
                        double *c) {
    if (cell == RNN_TANH) return tanh(x[0] + own[0]);
    if (cell == RNN_RELU) return fmax(0, x[0] + own[0]);
    if (cell == GRU) {
        double n = tanh(x[2] + sigma(x[0] + own[0]) * (own[2] + extra)), z = sigma(x[1] + own[1]);
        return n + z * (h - n);
    }
    int plain = cell == LSTM;
    double f = sigma(x[1] + own[1] + !plain), g = x[2] + own[2];
    *c = f * *c + sigma(x[0] + own[0]) * (plain ? tanh(g) : sigma(g));
    return sigma(x[3] + own[3]) * (plain ? tanh(*c) : sigma(*c));
}

PLAIN double test_forward(int cell, int units, int bits) {
    enum { STEPS = 4, BATCH = 5 };
    const int64_t sizes[STEPS] = {5, 5, 3, 1};
    const int rows = 14, G = cell == GRU ? 3 : cell > GRU ? 1 : 4, width = G * units;
    const int low = cell == RNN_RELU || cell == LSTM_SIGMOID ? 0 : -8, high = low + 15;
    const float step = 0.11f;
    weight w = weight_of(width, units, G, bits);
    float *scales = numbers((size_t)width, 0.2f / (float)units);
    float *projected = numbers((size_t)rows * width, 1.0f), *extra = numbers((size_t)units, 0.5f);
    float *h = numbers((size_t)BATCH * units, 1.0f), *c = numbers((size_t)BATCH * units, 1.0f);
    float *hidden = allocate((size_t)rows * units * 4);
    int64_t stride = (units + 31) / 32 * 32;
    double *before = allocate((size_t)BATCH * units * 8), *memory = allocate((size_t)BATCH * units * 8);
    for (int i = 0; i < BATCH * units; i++) {
        double code = rintf(h[i] / step);
        before[i] = (code > high ? high : code < low ? low : code) * (double)step;
        memory[i] = c[i];
    }
    recurrence job = {.cell = cell, .steps = STEPS, .batch = BATCH, .units = units, .row1 = BATCH};
    job.sizes = sizes, job.weight = &w.m, job.scales = scales, job.candidate_bias = extra;
    job.scale = step, job.low = low, job.high = high, job.projected = projected;
    job.hidden = hidden, job.h = h, job.c = c, job.stride = stride;
    job.sums = allocate(BATCH * 4), job.codes = allocate((size_t)(2 * BATCH * stride));
    check(!NAME(forward)(&job), "forward says NaN", cell, units, bits, 0);
    double worst = -1; /* of a code: how far h lies from it, in steps, beyond the half of one */
    for (int t = 0, flat = 0; t < STEPS; flat += (int)sizes[t++]) {
        double *next = allocate((size_t)BATCH * units * 8);
        memcpy(next, before, (size_t)BATCH * units * 8);
        for (int r = 0; r < sizes[t]; r++)
            for (int u = 0; u < units; u++) {
                double x[4], own[4];
                for (int g = 0; g < G; g++) {
                    double sum = 0;
                    for (int k = 0; k < units; k++)
                        sum += before[r * units + k] / step * level(&w, g * units + u, k);
                    own[g] = sum * scales[g * units + u];
                    x[g] = projected[(flat + r) * width + g * units + u];
                }
                double raw = cell_step(cell, x, own, extra[u], before[r * units + u],
                                       &memory[r * units + u]) / step;
                double code = hidden[(flat + r) * units + u] / step;
                raw = raw > high ? high : raw < low ? low : raw;
                worst = fmax(worst, fabs(raw - code) - 0.5);
                worst = fmax(worst, fabs(code - rint(code)) - 1e-4);
                next[r * units + u] = rint(code) * (double)step;
            }
        memcpy(before, next, (size_t)BATCH * units * 8);
        free(next);
    }
    for (int i = 0; i < BATCH * units; i++) {
        worst = fmax(worst, fabs(h[i] - before[i]) - 1e-5);
        if (cell <= LSTM_SIGMOID) worst = fmax(worst, fabs(c[i] - memory[i]) - 1e-4);
    }
    check(worst < 1e-4, "forward", cell, units, bits, worst);
    free(scales), free(projected), free(extra), free(h), free(c), free(hidden), free(before);
    free(memory), free(job.sums), free(job.codes), forget(&w);
    return worst;
}

/* --- in one pass ---------------------------------------------------------------------------------- */

PLAIN double test_fake_quantize(int rows, int columns, int bits, int each) {
    float *x = numbers((size_t)rows * columns, 4.0f), *y = allocate((size_t)rows * columns * 4);
    float *scales = numbers((size_t)rows, 1.0f);
    int low = -(1 << (bits - 1)), high = -low - 1, wrong = 0;
    float offset = bits <= 3 ? 0.5f : 0.0f;
    for (int r = 0; r < rows; r++) scales[r] = fabsf(scales[r]) + 0.05f;
    NAME(fake_quantize)(x, scales, each, rows, columns, low, high, offset, y);
    for (int i = 0; i < rows * columns; i++) {
        volatile float scale = scales[each ? i / columns : 0], code = x[i] / scale;
        code = code - offset;
        code = rintf(code);
        code = code > high ? high : code < low ? low : code;
        volatile float level = code + offset, value = level * scale;
        wrong += value != y[i];
    }
    check(!wrong, "fake_quantize", rows, columns, bits, wrong);
    free(x), free(y), free(scales);
    return wrong;
}

PLAIN double test_cross_entropy(int rows, int classes) {
    size_t count = (size_t)rows * classes;
    float *logits = numbers(count, 8.0f), *grads = allocate(count * 4);
    int64_t *targets = allocate((size_t)rows * 8);
    memcpy(grads, logits, count * 4);
    for (int r = 0; r < rows; r++) targets[r] = r % 4 == 3 ? -100 : between(0, classes - 1);
    double plain = NAME(cross_entropy)(logits, targets, rows, classes, -100, 0.0f);
    double loss = NAME(cross_entropy)(grads, targets, rows, classes, -100, 0.5f);
    double expected = 0, worst = 0;
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int k = 0; k < classes; k++) sum += exp(logits[r * classes + k]);
        if (targets[r] >= 0) expected += log(sum) - logits[r * classes + targets[r]];
        for (int k = 0; k < classes; k++) {
            double slope = 0.5 * (exp(logits[r * classes + k]) / sum - (k == targets[r]));
            if (targets[r] < 0) slope = 0;
            worst = fmax(worst, fabs(slope - grads[r * classes + k]));
        }
    }
    worst = fmax(worst, fabs(loss - expected) / (1 + expected));
    worst = fmax(worst, fabs(plain - expected) / (1 + expected));
    check(worst < 1e-6, "cross_entropy", rows, classes, 0, worst);
    targets[0] = classes;
    check(isnan(NAME(cross_entropy)(logits, targets, rows, classes, -100, 0.0f)), "target", rows,
          classes, 0, 0);
    free(logits), free(grads), free(targets);
    return worst;
}

int main(void) {
    static const int widths[] = {1, 3, 7, 8, 9, 31, 32, 33, 70, 130};
    enum { WIDTHS = sizeof widths / sizeof *widths };
    double worst[4] = {0, -1, 0, 0};
    int count[4] = {0};
    for (int bits = 1; bits <= 8; bits++)
        for (int i = 0; i < WIDTHS; i++) {
            for (int rows = 1; rows < 30; rows += 6, count[0]++)
                for (int j = 0; j < WIDTHS; j += 3)
                    worst[0] = fmax(worst[0], test_linear(rows, widths[i], widths[j], bits));
            for (int cell = LSTM; cell <= RNN_RELU; cell++, count[1]++)
                worst[1] = fmax(worst[1], test_forward(cell, widths[i], bits));
            for (int rows = 1; rows < 4; rows++, count[2]++)
                for (int each = 0; each < 2; each++)
                    worst[2] = fmax(worst[2], test_fake_quantize(rows, widths[i], bits, each));
        }
    for (int i = 0; i < WIDTHS; i++)
        for (int rows = 1; rows < 10; rows++, count[3]++)
            worst[3] = fmax(worst[3], test_cross_entropy(rows, widths[i]));
    printf("linear %d: %.2g; forward %d: %.2g; fake_quantize %d: %g; cross_entropy %d: %.2g\n",
           count[0], worst[0], count[1], worst[1], count[2], worst[2], count[3], worst[3]);
    printf("%d lanes, %d wrong\n", V, failures);
    return failures > 0;
}
