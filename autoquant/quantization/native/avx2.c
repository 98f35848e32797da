/* x86-64 with AVX2 and FMA. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#define AQ_AVX2
#define AQ_SET avx2
#include "core.h"
#endif
