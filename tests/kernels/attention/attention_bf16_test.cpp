// Attention on BF16 dot products, on the instructions that the machine has and on emulated AMX
// tiles: near the formula, near the gradients of the fp32 sets, the same bits with any threads.
#include "kernels/attention/attention_bf16.hpp"

#include <gtest/gtest.h>

#include "tests/kernels/attention/attention_cases.hpp"
#include "tests/kernels/gemm/emulated_tiles.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::all_close;
using test::TestContext;
using test::Tolerance;

// Factors rounded to BF16 (2^-9), then sums of them.
constexpr Tolerance kForward{8e-3, 1.6e-2, 8e-3};
constexpr Tolerance kGradient{2e-2, 3e-2, 1.2e-2};

struct Results {
  TestMatrix out, log_sum_exp, dq, dkv, dk_rope;

  Results(const AttentionDesc& d, const Inputs& in)
      : out(DType::kBF16, rows(d), in.dout.columns()),
        log_sum_exp(TestMatrix::vector(rows(d) * d.heads)),
        dq(DType::kBF16, rows(d), in.q.columns()),
        dkv(DType::kBF16, rows(d), in.kv.columns()),
        dk_rope(DType::kBF16, rows(d), d.rope) {}
  [[nodiscard]] std::vector<TestMatrix> all() const { return {out, log_sum_exp, dq, dkv, dk_rope}; }
};

Results run(const ComputeContext& context, const GemmKernelSet& dots, const AttentionDesc& d,
            const Inputs& in) {
  const Results r(d, in);
  avx512::attention_bf16(context, dots, d, in.q.view(), in.kv.view(), in.k_rope.view(),
                         r.out.view(), r.log_sum_exp.values());
  avx512::attention_backward_bf16(context, dots, d, in.q.view(), in.kv.view(), in.k_rope.view(),
                                  r.out.view(), r.log_sum_exp.values(), in.dout.view(), r.dq.view(),
                                  r.dkv.view(), r.dk_rope.view());
  return r;
}

// The fp32 sets on the same BF16 tensors, with gradients of the same rounded output.
Results run_fp32(const AttentionDesc& d, const Inputs& in) {
  const Results r(d, in);
  attention(TestContext(), d, in.q.view(), in.kv.view(), in.k_rope.view(), r.out.view(),
            r.log_sum_exp.values());
  attention_backward(TestContext(), d, in.q.view(), in.kv.view(), in.k_rope.view(), r.out.view(),
                     r.log_sum_exp.values(), in.dout.view(), r.dq.view(), r.dkv.view(),
                     r.dk_rope.view());
  return r;
}

struct Set {
  const char* name;
  const GemmKernelSet* dots;
};

class AttentionBf16 : public testing::TestWithParam<Set> {
 protected:
  void SetUp() override {
    if (best_isa() != Isa::kAvx512) GTEST_SKIP() << "packing needs AVX-512";
    if (dots() == &avx512_bf16::kGemm && !bf16_features().avx512_bf16) GTEST_SKIP();
    if (dots() == &amx_bf16::kGemm && !bf16_features().amx_bf16) GTEST_SKIP();
  }
  [[nodiscard]] static const GemmKernelSet* dots() { return GetParam().dots; }

  static void check(const AttentionDesc& d) {
    SCOPED_TRACE(fmt::format("{} sequences of {}, {} heads of {} + {}, {}", d.sequences, d.length,
                             d.heads, d.nope, d.rope, d.value));
    const Inputs in(d, DType::kBF16);
    const Results one = run(TestContext(Isa::kAvx512, 1), *dots(), d, in);
    const std::vector<double> q = in.q.doubles(), kv = in.kv.doubles(),
                              k_rope = in.k_rope.doubles();
    const Formula formula{d, q, kv, k_rope};
    EXPECT_TRUE(all_close(formula.out(), one.out.view(), kForward));
    EXPECT_TRUE(all_close(formula.log_sum_exp(), one.log_sum_exp.view(), {1e-5, 1e-5, 1e-5}));
    const Results want = run_fp32(d, in);
    EXPECT_TRUE(all_close(want.dq.doubles(), one.dq.view(), kGradient));
    EXPECT_TRUE(all_close(want.dkv.doubles(), one.dkv.view(), kGradient));
    EXPECT_TRUE(all_close(want.dk_rope.doubles(), one.dk_rope.view(), kGradient));
    for (const int threads : {2, 3}) {
      const std::vector<TestMatrix> more =
          run(TestContext(Isa::kAvx512, threads), *dots(), d, in).all();
      for (std::size_t i = 0; i < more.size(); ++i) {
        EXPECT_TRUE(test::same_bits(one.all()[i].view(), more[i].view())) << "output " << i;
        EXPECT_TRUE(more[i].guards_intact()) << "output " << i;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Sets, AttentionBf16,
                         testing::Values(Set{"Avx512Bf16", &avx512_bf16::kGemm},
                                         Set{"Amx", &amx_bf16::kGemm},
                                         Set{"EmulatedAmx", &kEmulated}),
                         [](const auto& info) { return info.param.name; });

TEST_P(AttentionBf16, EveryLength) {
  for (const std::int64_t length : {1, 13, 14, 33, 96, 97, 130, 250}) {
    check({2, length, 2, 8, 4, 8, 0.25f});
  }
}

TEST_P(AttentionBf16, EveryHeadSize) {
  for (const std::int64_t nope : {8, 13, 64}) {
    for (const std::int64_t rope : {3, 4, 32}) {
      for (const std::int64_t value : {8, 27, 64, 90}) check({1, 37, 2, nope, rope, value, 0.1f});
    }
  }
}

TEST_P(AttentionBf16, ThreadsShareAHead) { check({1, 300, 1, 24, 8, 24, 0.15f}); }

TEST_P(AttentionBf16, ASecondCallTakesNoNewMemory) {
  const AttentionDesc d{2, 60, 3, 8, 4, 8, 0.25f};
  const Inputs in(d, DType::kBF16);
  const TestContext context(Isa::kAvx512, 2);
  run(context, *dots(), d, in);
  const int blocks = context.allocator().new_blocks();
  run(context, *dots(), d, in);
  EXPECT_EQ(context.allocator().new_blocks(), blocks);
}

}  // namespace
}  // namespace sluice::kernels
