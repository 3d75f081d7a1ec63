// Headers that lanes.hpp needs, included for the baseline before any target pragma.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/base/dtype.hpp"
#include "kernels/cpu/lanes_math.hpp"
