/* How inputs or a hidden state are rounded: to codes from low to high, or to half precision. */
typedef struct rounding rounding;

/* The inputs of a product: codes and their sum, or values. `scratch` has room for a row of codes. */
typedef struct {
    const float *values;
    const void *codes;
    int32_t sum;
    int8_t *scratch;
} operand;

struct rounding {
    float (*round)(const rounding *r, float x);
    operand (*prepare)(const rounding *r, const float *x, int32_t n, float *values, int8_t *codes);
    float scale;
    int32_t low, high;
};

/* The code of a value, as a float. NaN becomes the largest code. */
INLINE float level_of(float x, float scale, int32_t low, int32_t high) {
    float level = x / scale;
    level = level < (float)high ? level : (float)high;
    return nearest(at_least(level, (float)low));
}

/* The nearest number of half precision. */
INLINE float half_of(float x) {
    const float a = absolute(x);
    if (!(a < 65520.0f)) return x == x ? (x < 0 ? -INFINITY : INFINITY) : x;
    if (a < 6.103515625e-5f) return nearest(x * 16777216.0f) * 5.9604644775390625e-8f;
    int32_t bits = as_int(a);
    bits += 0xfff + (bits >> 13 & 1);
    return as_float((bits & ~0x1fff) | (as_int(x) & (int32_t)0x80000000));
}

static float round_to_codes(const rounding *r, float x) {
    return level_of(x, r->scale, r->low, r->high) * r->scale;
}

static float round_to_half(const rounding *r, float x) {
    (void)r;
    return half_of(x);
}

static float round_not(const rounding *r, float x) {
    (void)r;
    return x;
}

/* Codes of n values, then seven zeros: products read eight codes at a time. Returns their sum. */
static int32_t encode(const float *x, int32_t n, float scale, int32_t low, int32_t high,
                      void *codes) {
    uint8_t *to = codes;
    int32_t sum = 0;
    for (int32_t k = 0; k < n; k++) {
        const int32_t code = (int32_t)level_of(x[k], scale, low, high);
        sum += code;
        to[k] = (uint8_t)code;
    }
    memset(to + n, 0, 7);
    return sum;
}

/* Where input k of an interleaved row lies: of each eight in the order 0 1 4 5 2 3 6 7. */
INLINE int32_t place_of(int32_t k) { return (k & ~6) | (k & 2) << 1 | (k & 4) >> 1; }

/* Codes for weights of up to four bits; see dot_4_int8 and its like. */
static operand prepare_interleaved(const rounding *r, const float *x, int32_t n, float *values,
                                   int8_t *codes) {
    operand made = {NULL, codes, 0, NULL};
    uint8_t *to = (uint8_t *)codes;
    (void)values;
    memset(to + (n & ~7), 0, 7);
    if (n & 7) to[(n & ~7) + 7] = 0;
    for (int32_t k = 0; k < n; k++) {
        const int32_t code = (int32_t)level_of(x[k], r->scale, r->low, r->high);
        made.sum += code;
        to[place_of(k)] = (uint8_t)code;
    }
    return made;
}

static operand prepare_codes(const rounding *r, const float *x, int32_t n, float *values,
                             int8_t *codes) {
    operand made = {NULL, codes, 0, NULL};
    (void)values;
    made.sum = encode(x, n, r->scale, r->low, r->high, codes);
    return made;
}

static operand prepare_rounded(const rounding *r, const float *x, int32_t n, float *values,
                               int8_t *codes) {
    operand made = {values, NULL, 0, codes};
    for (int32_t k = 0; k < n; k++) values[k] = r->round(r, x[k]);
    return made;
}

static operand prepare_nothing(const rounding *r, const float *x, int32_t n, float *values,
                               int8_t *codes) {
    operand made = {x, NULL, 0, codes};
    (void)r, (void)n, (void)values;
    return made;
}
