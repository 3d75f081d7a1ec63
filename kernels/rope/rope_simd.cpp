// RoPE in 16 lanes, for every SIMD kernel set.
#include "kernels/rope/rope_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/rope/rope_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

// Each cosine twice, each sine as (-s, s): then lane by lane y = fma(x, cosine, swapped x · sine).
void spread(const float* cosine, const float* sine, float sign, std::int64_t pairs, float* c,
            float* s) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    c[2 * i] = c[2 * i + 1] = cosine[i];
    s[2 * i + 1] = sine[i] * sign;
    s[2 * i] = -s[2 * i + 1];
  }
}

template <class T>
void rotate_interleaved(T* row, const RopeHeads& heads, const float* cosine, const float* sine,
                        float sign) {
  for (std::int64_t i = 0; i < heads.dim; i += kLanes) {
    const std::int64_t n = std::min<std::int64_t>(kLanes, heads.dim - i);
    alignas(64) float buffer[2 * kLanes] = {};
    spread(cosine + i / 2, sine + i / 2, sign, n / 2, buffer, buffer + kLanes);
    const Lanes c = load(buffer), s = load(buffer + kLanes);
    for (std::int64_t h = 0; h < heads.heads; ++h) {
      T* x = row + h * heads.head_stride + heads.first + i;
      const Lanes value = load_up_to(x, n);
      store_up_to(x, fma(value, c, mul(swap_pairs(value), s)), n);
    }
  }
}

template <class T>
void rotate_halves(T* row, const RopeHeads& heads, const float* cosine, const float* sine,
                   float sign) {
  const std::int64_t pairs = heads.dim / 2;
  for (std::int64_t i = 0; i < pairs; i += kLanes) {
    const std::int64_t n = pairs - i;
    const Lanes c = load_up_to(cosine + i, n);
    const Lanes s = mul(load_up_to(sine + i, n), set1(sign)), minus_s = mul(s, set1(-1.0f));
    for (std::int64_t h = 0; h < heads.heads; ++h) {
      T* x = row + h * heads.head_stride + heads.first + i;
      const Lanes a = load_up_to(x, n), b = load_up_to(x + pairs, n);
      store_up_to(x, fma(a, c, mul(b, minus_s)), n);
      store_up_to(x + pairs, fma(b, c, mul(a, s)), n);
    }
  }
}

template <class T>
void rotate_rows(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  const auto x = args.x.as<T>();
  for (std::int64_t r = first; r < last; ++r) {
    const std::int64_t position = args.positions[static_cast<std::size_t>(r)];
    const float* cosine = args.cosine.row(position);
    const float* sine = args.sine.row(position);
    if (args.heads.interleaved) {
      rotate_interleaved(x.row(r), args.heads, cosine, sine, args.sign);
    } else {
      rotate_halves(x.row(r), args.heads, cosine, sine, args.sign);
    }
  }
}

void rotate(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  if (args.x.dtype == DType::kF32) return rotate_rows<float>(args, first, last);
  rotate_rows<BF16>(args, first, last);
}

}  // namespace

const RopeKernels kRope{rotate};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
