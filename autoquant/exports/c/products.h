/* A weight [rows, columns], packed row by row, and its bias. A value is (code + low + offset) * scale,
 * with codes from 0 on; weights without codes have none of these. */
typedef struct matrix matrix;

struct matrix {
    float (*product)(const matrix *w, int32_t row, const operand *x);
    int32_t (*dot)(const uint8_t *row, const void *x, int32_t n);
    void (*unpack)(const uint8_t *row, int32_t n, int32_t low, int8_t *codes);
    void (*decode)(const matrix *w, int32_t row, float *values, int8_t *scratch);
    const void *data;
    const float *scales; /* of each row, times the scale of the inputs' codes where they have some */
    const float *bias;   /* of each row, or NULL */
    int32_t rows, columns, row_bytes;
    int32_t scale_step;  /* 1, or 0: all rows have one scale */
    int32_t low;
    float offset;
};

INLINE const uint8_t *row_of(const matrix *w, int32_t row) {
    return (const uint8_t *)w->data + row * w->row_bytes;
}

INLINE float bias_of(const matrix *w, int32_t row) { return w->bias ? w->bias[row] : 0.0f; }

/* Half precision -> float. */
INLINE float from_half(uint16_t half) {
    const int32_t sign = (int32_t)(half >> 15) * INT32_MIN, rest = half & 0x7fff;
    if (rest < 0x400) return (sign ? -1.0f : 1.0f) * (float)rest * 5.9604644775390625e-8f;
    return as_float((rest << 13) + (rest < 0x7c00 ? 112 << 23 : 0x70000000) + sign);
}

/* Codes times codes: the sum is exact. */
static float product_codes(const matrix *w, int32_t row, const operand *x) {
    const int32_t sum = w->dot(row_of(w, row), x->codes, w->columns) + w->low * x->sum;
    return ((float)sum + w->offset * (float)x->sum) * w->scales[row * w->scale_step];
}

/* Codes times values. */
static float product_decoded(const matrix *w, int32_t row, const operand *x) {
    float sum = 0;
    w->unpack(row_of(w, row), w->columns, w->low, x->scratch);
    for (int32_t k = 0; k < w->columns; k++)
        sum += ((float)x->scratch[k] + w->offset) * x->values[k];
    return sum * w->scales[row * w->scale_step];
}

static float product_halves(const matrix *w, int32_t row, const operand *x) {
    const uint16_t *values = (const uint16_t *)w->data + row * w->columns;
    float sum = 0;
    for (int32_t k = 0; k < w->columns; k++) sum += from_half(values[k]) * x->values[k];
    return sum;
}

static float product_floats(const matrix *w, int32_t row, const operand *x) {
    const float *values = (const float *)w->data + row * w->columns;
    float sum = 0;
    for (int32_t k = 0; k < w->columns; k++) sum += values[k] * x->values[k];
    return sum;
}

/* The values of a row. */
static void decode_codes(const matrix *w, int32_t row, float *values, int8_t *scratch) {
    const float scale = w->scales[row * w->scale_step];
    w->unpack(row_of(w, row), w->columns, w->low, scratch);
    for (int32_t k = 0; k < w->columns; k++) values[k] = ((float)scratch[k] + w->offset) * scale;
}

static void decode_halves(const matrix *w, int32_t row, float *values, int8_t *scratch) {
    const uint16_t *from = (const uint16_t *)w->data + row * w->columns;
    (void)scratch;
    for (int32_t k = 0; k < w->columns; k++) values[k] = from_half(from[k]);
}

static void decode_floats(const matrix *w, int32_t row, float *values, int8_t *scratch) {
    (void)scratch;
    memcpy(values, (const float *)w->data + row * w->columns, (size_t)w->columns * sizeof(float));
}

/* y = x W^T + b for `count` rows of x. */
static void linear(const matrix *w, const rounding *r, const float *x, int32_t count, float *y,
                   float *values, int8_t *codes) {
    for (; count > 0; count--, x += w->columns, y += w->rows) {
        const operand in = r->prepare(r, x, w->columns, values, codes);
        for (int32_t row = 0; row < w->rows; row++)
            y[row] = w->product(w, row, &in) + bias_of(w, row);
    }
}

/* Rows of a table; an index beyond it reads its nearest row, and so does a negative one. */
static void look_up(const matrix *w, const int32_t *indices, int32_t count, float *y,
                    int8_t *scratch) {
    for (; count > 0; count--, indices++, y += w->columns) {
        const int32_t row = *indices < 0 ? 0 : *indices < w->rows ? *indices : w->rows - 1;
        w->decode(w, row, y, scratch);
    }
}
