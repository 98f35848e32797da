/* A convolution of one image [channels, height, width]; a sequence has a height of 1. */
typedef struct {
    int32_t channels, height, width;             /* of the input */
    int32_t out_channels, out_height, out_width;
    int32_t groups;
    int32_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, step_y, step_x; /* step: dilation */
} convolution;

/* The taps first to last - 1 of a kernel that lie on the input, which starts at `origin`. */
INLINE int32_t first_tap(int32_t origin, int32_t step) {
    return origin < 0 ? (-origin + step - 1) / step : 0;
}

INLINE int32_t last_tap(int32_t origin, int32_t step, int32_t taps, int32_t size) {
    const int32_t most = origin < size ? (size - origin + step - 1) / step : 0;
    return most < taps ? most : taps;
}

/* Codes of the input times codes of the weight [out_channels, channels / groups * taps]: sums are
 * exact. `row` has room for a row of the weight. */
static void convolve_TYPE(const convolution *k, const matrix *w, const void *input, float *y,
                          int8_t *row) {
    const TYPE *x = input;
    const int32_t depth = k->channels / k->groups, size = k->height * k->width;
    for (int32_t o = 0; o < k->out_channels; o++) {
        const TYPE *from = x + o / (k->out_channels / k->groups) * depth * size;
        w->unpack(row_of(w, o), w->columns, w->low, row);
        for (int32_t p = 0; p < k->out_height * k->out_width; p++) {
            const int32_t y0 = p / k->out_width * k->stride_y - k->pad_y;
            const int32_t x0 = p % k->out_width * k->stride_x - k->pad_x;
            const int32_t i0 = first_tap(y0, k->step_y), j0 = first_tap(x0, k->step_x);
            const int32_t i1 = last_tap(y0, k->step_y, k->kernel_y, k->height);
            const int32_t j1 = last_tap(x0, k->step_x, k->kernel_x, k->width);
            int32_t sum = 0, codes = 0;
            for (int32_t c = 0; c < depth; c++)
                for (int32_t i = i0; i < i1; i++) {
                    const int32_t at = c * size + (y0 + i * k->step_y) * k->width + x0;
                    const int8_t *taps = row + (c * k->kernel_y + i) * k->kernel_x;
                    for (int32_t j = j0; j < j1; j++) {
                        const int32_t code = from[at + j * k->step_x];
                        sum += code * taps[j];
                        codes += code;
                    }
                }
            *y++ = ((float)sum + w->offset * (float)codes) * w->scales[o * w->scale_step] +
                   bias_of(w, o);
        }
    }
}

/* The same of floats. */
static void convolve_floats(const convolution *k, const matrix *w, const float *x, float *y,
                            float *row, int8_t *scratch) {
    const int32_t depth = k->channels / k->groups, size = k->height * k->width;
    for (int32_t o = 0; o < k->out_channels; o++) {
        const float *from = x + o / (k->out_channels / k->groups) * depth * size;
        w->decode(w, o, row, scratch);
        for (int32_t p = 0; p < k->out_height * k->out_width; p++) {
            const int32_t y0 = p / k->out_width * k->stride_y - k->pad_y;
            const int32_t x0 = p % k->out_width * k->stride_x - k->pad_x;
            const int32_t i0 = first_tap(y0, k->step_y), j0 = first_tap(x0, k->step_x);
            const int32_t i1 = last_tap(y0, k->step_y, k->kernel_y, k->height);
            const int32_t j1 = last_tap(x0, k->step_x, k->kernel_x, k->width);
            float sum = 0;
            for (int32_t c = 0; c < depth; c++)
                for (int32_t i = i0; i < i1; i++) {
                    const int32_t at = c * size + (y0 + i * k->step_y) * k->width + x0;
                    const float *taps = row + (c * k->kernel_y + i) * k->kernel_x;
                    for (int32_t j = j0; j < j1; j++) sum += from[at + j * k->step_x] * taps[j];
                }
            *y++ = sum + bias_of(w, o);
        }
    }
}

/* The largest value, or the mean, of each window; `k` has as many outputs as channels. A mean divides
 * by `divisor`, or where that is 0 by the entries that lie on the input. */
static void max_pool(const convolution *k, const float *x, float *y) {
    for (int32_t c = 0; c < k->channels; c++, x += k->height * k->width)
        for (int32_t p = 0; p < k->out_height * k->out_width; p++) {
            const int32_t y0 = p / k->out_width * k->stride_y - k->pad_y;
            const int32_t x0 = p % k->out_width * k->stride_x - k->pad_x;
            float most = -INFINITY;
            for (int32_t i = first_tap(y0, k->step_y);
                 i < last_tap(y0, k->step_y, k->kernel_y, k->height); i++)
                for (int32_t j = first_tap(x0, k->step_x);
                     j < last_tap(x0, k->step_x, k->kernel_x, k->width); j++) {
                    const float v = x[(y0 + i * k->step_y) * k->width + x0 + j * k->step_x];
                    most = v <= most ? most : v;
                }
            *y++ = most;
        }
}

static void average_pool(const convolution *k, const float *x, int32_t divisor, float *y) {
    for (int32_t c = 0; c < k->channels; c++, x += k->height * k->width)
        for (int32_t p = 0; p < k->out_height * k->out_width; p++) {
            const int32_t y0 = p / k->out_width * k->stride_y - k->pad_y;
            const int32_t x0 = p % k->out_width * k->stride_x - k->pad_x;
            float sum = 0;
            int32_t count = 0;
            for (int32_t i = first_tap(y0, 1); i < last_tap(y0, 1, k->kernel_y, k->height); i++)
                for (int32_t j = first_tap(x0, 1); j < last_tap(x0, 1, k->kernel_x, k->width); j++) {
                    sum += x[(y0 + i) * k->width + x0 + j];
                    count++;
                }
            *y++ = sum / (float)(divisor ? divisor : count);
        }
}

/* Means of windows that together cover the input. */
static void adaptive_average_pool(const convolution *k, const float *x, float *y) {
    for (int32_t c = 0; c < k->channels; c++, x += k->height * k->width)
        for (int32_t p = 0; p < k->out_height * k->out_width; p++) {
            const int32_t i = p / k->out_width, j = p % k->out_width;
            const int32_t y0 = i * k->height / k->out_height, x0 = j * k->width / k->out_width;
            const int32_t y1 = ((i + 1) * k->height + k->out_height - 1) / k->out_height;
            const int32_t x1 = ((j + 1) * k->width + k->out_width - 1) / k->out_width;
            float sum = 0;
            for (int32_t a = y0; a < y1; a++)
                for (int32_t b = x0; b < x1; b++) sum += x[a * k->width + b];
            *y++ = sum / (float)((y1 - y0) * (x1 - x0));
        }
}
