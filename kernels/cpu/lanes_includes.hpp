// Headers that lanes.hpp needs, included for the baseline before any target pragma.
#pragma once

// GCC 12 bug 105593: the undefined upper lanes inside its own AVX-512 headers look uninitialised.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

#include "kernels/base/dtype.hpp"
#include "kernels/cpu/lanes_math.hpp"
