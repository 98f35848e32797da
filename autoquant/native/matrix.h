/* A matrix of integer codes in the order in which a product reads it.
 *
 * Rows are output units. A block is V units of each of G gates (G groups of V units where there are
 * no gates). Along the columns, four codes of a unit stand together, since the integer product takes
 * four at once:
 *
 *     codes[block][column / 4][gate][unit in block][column % 4]
 *
 * so the gates of V units are G vectors side by side, and their sums stay in G registers.
 *
 * Below 8 bits, 32 columns form a chunk, and each bit-plane of a chunk (of 4, 2 or 1 bits: 5 bits are
 * planes of 4 and 1) packs the vectors of 8 / width column groups into one. A chunk has exactly
 * `bits` vectors for each gate. The codes in planes are unsigned, code - low.
 */
#ifndef MATRIX_H
#define MATRIX_H

#include "lanes.h"

enum { CHUNK = 8 }; /* column groups in a chunk */

/* Mirrored by native/matrix.py: MatrixStruct. */
typedef struct {
    int32_t rows, columns;
    int32_t gates;        /* G: 3 or 4 */
    int32_t gate_stride;  /* rows from one gate to the next */
    int32_t block_stride; /* rows from one block to the next */
    int32_t blocks;
    int32_t bits;         /* 8: int8 codes; below: bit-planes */
    int32_t low;          /* smallest code */
    int32_t reach;        /* largest magnitude of a code */
    float offset;         /* weight = scale * (code + offset) */
    uint8_t *codes;
    int32_t *sums;        /* sum of a row's codes, [block][gate][V] */
} matrix;

INLINE int groups_of(const matrix *m) {
    return m->bits == 8 ? (m->columns + 3) / 4 : (m->columns + 31) / 32 * CHUNK;
}

INLINE size_t panel_bytes(const matrix *m) {
    return (size_t)groups_of(m) * m->gates * V * 4 * m->bits / 8;
}

INLINE int first_row(const matrix *m, int block, int gate) {
    return block * m->block_stride + gate * m->gate_stride;
}

/* Rows of a gate in a block: V, or what is left of the gate, or none. */
INLINE int rows_in(const matrix *m, int block, int gate) {
    int first = first_row(m, block, gate);
    int end = m->gate_stride == V ? m->rows : (gate + 1) * m->gate_stride;
    int left = end - first;
    return left < 0 ? 0 : left > V ? V : left;
}

/* One bit-plane of a chunk: `shift` bits up, added to what is there if that is not 0, and to `low`. */
INLINE void unpack_plane(const uint8_t *from, uint8_t *to, int gates, int width, int shift, vc low) {
    const int each = 8 / width;
    const vi mask = splat_int(0x01010101 * ((1 << width) - 1));
    for (int q = 0; q < width; q++)
        for (int g = 0; g < gates; g++) {
            vu held = (vu)load_int(from + (size_t)(q * gates + g) * 4 * V);
            for (int i = 0; i < each; i++) {
                uint8_t *slot = to + (size_t)((q * each + i) * gates + g) * 4 * V;
                vi part = ((vi)(held >> (width * i)) & mask) << shift;
                if (shift) part |= load_int(slot);
                store_int(slot, (vi)((vc)part + low));
            }
        }
}

/* One chunk of bit-planes -> int8 codes, CHUNK * gates vectors. */
INLINE void unpack(const uint8_t *from, uint8_t *to, int gates, int bits, int low) {
    int shift = 0;
    for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        const int last = shift + width == bits;
        unpack_plane(from, to, gates, width, shift, (vc){0} + (int8_t)(last ? low : 0));
        shift += width;
        from += (size_t)width * gates * 4 * V;
    }
}

#endif
