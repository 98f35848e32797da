/* Softmax of n values that are `step` apart, or its logarithm. */
static void softmax(const float *x, int32_t n, int32_t step, float *y) {
    float most = x[0], sum = 0;
    for (int32_t k = 1; k < n; k++) most = x[k * step] > most ? x[k * step] : most;
    for (int32_t k = 0; k < n; k++) sum += y[k * step] = exponential(x[k * step] - most);
    for (int32_t k = 0; k < n; k++) y[k * step] /= sum;
}

static void log_softmax(const float *x, int32_t n, int32_t step, float *y) {
    float most = x[0], sum = 0;
    for (int32_t k = 1; k < n; k++) most = x[k * step] > most ? x[k * step] : most;
    for (int32_t k = 0; k < n; k++) sum += exponential(x[k * step] - most);
    sum = logf(sum);
    for (int32_t k = 0; k < n; k++) y[k * step] = x[k * step] - most - sum;
}

/* Mean 0 and variance 1 of n values; then a gain and a shift, which may be NULL, that are the same
 * for `run` values in a row. */
static void normalize(const float *x, int32_t n, int32_t run, const float *gain, const float *shift,
                      float epsilon, float *y) {
    float mean = 0, variance = 0;
    for (int32_t k = 0; k < n; k++) mean += x[k];
    mean /= (float)n;
    for (int32_t k = 0; k < n; k++) variance += (x[k] - mean) * (x[k] - mean);
    const float scale = 1.0f / sqrtf(variance / (float)n + epsilon);
    for (int32_t k = 0; k < n; k++) {
        const float z = (x[k] - mean) * scale;
        y[k] = (gain ? z * gain[k / run] : z) + (shift ? shift[k / run] : 0.0f);
    }
}
