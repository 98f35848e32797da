/* Everything, for the instruction set that the including file has chosen. */
#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
#define NAME(function) NAMED(function, AQ_SET)

#include "backward.h"
#include "infer.h"
#include "pointwise.h"
