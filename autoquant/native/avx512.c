/* x86-64 with AVX-512, its integer dot product (VNNI) and bfloat16.
 *
 * AQ_EMULATED: nearly the same code on any machine, with SIMDe's emulation of the two dot products,
 * for tests. */
#if defined(AQ_EMULATED)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#elif defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,prefer-vector-width=512")
#include <immintrin.h>
#endif
#if defined(AQ_EMULATED) || defined(__x86_64__)
#define AQ_AVX512
#define AQ_SET avx512
#include "core.h"
#endif
