/* One call from floats to floats: for inference, where the way through Python costs more than the
 * arithmetic of a small step. The rooms are the caller's. */
#ifndef INFER_H
#define INFER_H

#include "linear.h"
#include "recurrence.h"

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

/* Mirrored by runtime/direction.py: LayerCall. One direction: `affine` fills what `recurrence` reads. */
typedef struct {
    affine_call affine;
    recurrence recurrence;
} layer_call;

int NAME(layer)(layer_call *call) {
    return NAME(affine)(&call->affine) || NAME(forward)(&call->recurrence);
}

#endif
