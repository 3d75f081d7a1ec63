// RoPE in plain scalar code.
#include <cmath>

#include "kernels/cpu/elements.hpp"
#include "kernels/rope/rope_kernels.hpp"

namespace sluice::kernels::reference {
namespace {

template <class T>
void rotate_head(T* head, const RopeHeads& heads, const float* cosine, const float* sine,
                 float sign) {
  const std::int64_t pairs = heads.dim / 2;
  for (std::int64_t i = 0; i < pairs; ++i) {
    T& first = head[heads.interleaved ? 2 * i : i];
    T& second = head[heads.interleaved ? 2 * i + 1 : i + pairs];
    const float a = to_float(first), b = to_float(second), s = sine[i] * sign;
    first = from_float<T>(std::fma(a, cosine[i], b * -s));
    second = from_float<T>(std::fma(b, cosine[i], a * s));
  }
}

void rotate(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  visit_element(args.x.dtype, [&]<class T>(T) {
    for (std::int64_t r = first; r < last; ++r) {
      const std::int64_t position = args.positions[static_cast<std::size_t>(r)];
      for (std::int64_t h = 0; h < args.heads.heads; ++h) {
        T* head = args.x.as<T>().row(r) + h * args.heads.head_stride + args.heads.first;
        rotate_head(head, args.heads, args.cosine.row(position), args.sine.row(position),
                    args.sign);
      }
    }
  });
}

}  // namespace

const RopeKernels kRope{rotate};

}  // namespace sluice::kernels::reference
