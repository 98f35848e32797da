/* One direction of a recurrent layer. Rows of its weights are gates one after another. */
typedef struct {
    const matrix *input, *recurrent;
    const matrix *projection;    /* of an LSTM's hidden state, or NULL */
    const float *candidate_bias; /* of a GRU, inside the reset gate, or NULL */
    const rounding *inputs, *hidden;
    int32_t units, cells; /* widths of h and c; of h before its projection */
} direction;

/* The memory that a time step needs. */
typedef struct {
    float *input_values, *hidden_values, *unprojected;
    int8_t *input_codes, *hidden_codes;
} rooms;

/* A stack of layers: directions one after another, states as wide as the widest layer's. */
typedef struct {
    void (*step)(const direction *d, const operand *x, const operand *h, float *next, float *c);
    const direction *directions;
    int32_t layers, directions_per_layer;
    int32_t h_width, c_width;
} stack;

INLINE float input_part(const direction *d, int32_t row, const operand *x) {
    return d->input->product(d->input, row, x) + bias_of(d->input, row);
}

INLINE float gate_of(const direction *d, int32_t row, const operand *x, const operand *h) {
    return input_part(d, row, x) + d->recurrent->product(d->recurrent, row, h);
}

/* Gates i, f, g, o. */
static void lstm_step(const direction *d, const operand *x, const operand *h, float *next,
                      float *c) {
    const int32_t n = d->cells;
    for (int32_t j = 0; j < n; j++) {
        const float i = sigmoid(gate_of(d, j, x, h)), f = sigmoid(gate_of(d, n + j, x, h));
        const float g = hyperbolic(gate_of(d, 2 * n + j, x, h));
        const float o = sigmoid(gate_of(d, 3 * n + j, x, h));
        c[j] = f * c[j] + i * g;
        next[j] = o * hyperbolic(c[j]);
    }
}

/* Bit-RNN's: sigmoids only, and 1 is added to the forget gate. */
static void lstm_sigmoid_step(const direction *d, const operand *x, const operand *h, float *next,
                              float *c) {
    const int32_t n = d->cells;
    for (int32_t j = 0; j < n; j++) {
        const float i = sigmoid(gate_of(d, j, x, h)), f = sigmoid(gate_of(d, n + j, x, h) + 1.0f);
        const float g = sigmoid(gate_of(d, 2 * n + j, x, h));
        const float o = sigmoid(gate_of(d, 3 * n + j, x, h));
        c[j] = f * c[j] + i * g;
        next[j] = o * sigmoid(c[j]);
    }
}

/* Gates r, z, n. `next` holds the hidden state before the step. */
static void gru_step(const direction *d, const operand *x, const operand *h, float *next, float *c) {
    const int32_t n = d->cells;
    (void)c;
    for (int32_t j = 0; j < n; j++) {
        const float reset = sigmoid(gate_of(d, j, x, h)), update = sigmoid(gate_of(d, n + j, x, h));
        float product = d->recurrent->product(d->recurrent, 2 * n + j, h);
        if (d->candidate_bias) product += d->candidate_bias[j];
        const float candidate = hyperbolic(input_part(d, 2 * n + j, x) + reset * product);
        next[j] = candidate + update * (next[j] - candidate);
    }
}

static void rnn_tanh_step(const direction *d, const operand *x, const operand *h, float *next,
                          float *c) {
    (void)c;
    for (int32_t j = 0; j < d->cells; j++) next[j] = hyperbolic(gate_of(d, j, x, h));
}

static void rnn_relu_step(const direction *d, const operand *x, const operand *h, float *next,
                          float *c) {
    (void)c;
    for (int32_t j = 0; j < d->cells; j++) next[j] = at_least(gate_of(d, j, x, h), 0.0f);
}

/* One time step: `x` are inputs; `h` and `c` change in place. */
static void step_direction(const stack *s, const direction *d, const float *x, float *h, float *c,
                           const rooms *r) {
    const operand in = d->inputs->prepare(d->inputs, x, d->input->columns, r->input_values,
                                          r->input_codes);
    const operand before = d->hidden->prepare(d->hidden, h, d->units, r->hidden_values,
                                              r->hidden_codes);
    s->step(d, &in, &before, d->projection ? r->unprojected : h, c);
    if (d->projection) {
        const operand wide = {r->unprojected, NULL, 0, r->hidden_codes};
        for (int32_t j = 0; j < d->units; j++)
            h[j] = d->projection->product(d->projection, j, &wide);
    }
    for (int32_t j = 0; j < d->units; j++) h[j] = d->hidden->round(d->hidden, h[j]);
}

/* All steps of a direction; the second one of a layer runs from the last step to the first. Its
 * outputs are `width` apart. The state behind a layer that is not the widest becomes zero. */
static void run_direction(const stack *s, const direction *d, const float *x, int32_t steps,
                          int32_t reverse, float *h, float *c, float *out, int32_t width,
                          const rooms *r) {
    for (int32_t j = 0; j < d->units; j++) h[j] = d->hidden->round(d->hidden, h[j]);
    for (int32_t j = d->units; j < s->h_width; j++) h[j] = 0;
    for (int32_t j = d->cells; j < s->c_width; j++) c[j] = 0;
    for (int32_t i = 0; i < steps; i++) {
        const int32_t t = reverse ? steps - 1 - i : i;
        step_direction(s, d, x + t * d->input->columns, h, c, r);
        memcpy(out + t * width, h, (size_t)d->units * sizeof(float));
    }
}

/* x [steps, inputs] -> out [steps, outputs]; h [layers * directions, h_width] and c change in place.
 * `first` and `second` hold what layers hand on. */
static void run_stack(const stack *s, const float *x, int32_t steps, float *h, float *c, float *out,
                      float *first, float *second, const rooms *r) {
    for (int32_t layer = 0; layer < s->layers; layer++) {
        float *to = layer + 1 == s->layers ? out : layer & 1 ? second : first;
        const int32_t n = s->directions_per_layer;
        for (int32_t i = 0; i < n; i++) {
            const direction *d = s->directions + layer * n + i;
            const int32_t at = layer * n + i;
            run_direction(s, d, x, steps, i, h + at * s->h_width, c ? c + at * s->c_width : NULL,
                          to + i * d->units, n * d->units, r);
        }
        x = to;
    }
}
