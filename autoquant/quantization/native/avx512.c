/* x86-64 with AVX-512, its integer dot product (VNNI) and, but for AQ_WITHOUT_BF16, bfloat16.
 *
 * AQ_EMULATED: nearly the same code on any machine, with SIMDe's emulation of the two dot products,
 * for tests. */
#if defined(AQ_EMULATED)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#elif defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,prefer-vector-width=512")
#ifndef AQ_WITHOUT_BF16
#pragma GCC target("avx512bf16")
#endif
#include <immintrin.h>
#endif
#if defined(AQ_EMULATED) || defined(__x86_64__)
#define AQ_AVX512
#ifdef AQ_WITHOUT_BF16
#define AQ_SET avx512vnni
#else
#define AQ_SET avx512
#endif
#include "core.h"
#endif
