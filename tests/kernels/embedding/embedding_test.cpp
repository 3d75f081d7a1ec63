// Embedding: rows come out as they lie in the table, gradients add up in row order.
#include "kernels/embedding/embedding.hpp"

#include <gtest/gtest.h>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

const std::vector<std::int32_t> kTokens{3, 0, 6, 3, 3, 5, 0};

TEST(Embed, CopiesAndConvertsRows) {
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const DType to : {DType::kF32, DType::kBF16}) {
      const TestMatrix table = TestMatrix::random(from, 7, 35, 1);
      const auto outputs = test::expect_same_bits([&](const ComputeContext& context) {
        TestMatrix out(to, 7, 35);
        embed(context, table.view(), kTokens, out.view());
        return std::vector<TestMatrix>{out};
      });
      for (std::size_t i = 0; i < kTokens.size(); ++i) {
        for (std::int64_t c = 0; c < 35; ++c) {
          const float want = table.at(kTokens[i], c);
          EXPECT_EQ(outputs[0].at(static_cast<std::int64_t>(i), c),
                    to == DType::kF32 ? want : BF16::from_float(want).to_float());
        }
      }
    }
  }
}

TEST(EmbedBackward, AddsInRowOrder) {
  constexpr std::int64_t kRows = 1000;  // enough for several threads
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < kRows; ++i) tokens.push_back(static_cast<std::int32_t>(i * i % 7));
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const TestMatrix dout = TestMatrix::random(type, kRows, 200, 1);
    const TestMatrix before = TestMatrix::random(DType::kF32, 7, 200, 2);
    const auto outputs = test::expect_same_bits([&](const ComputeContext& context) {
      TestMatrix dtable = before.clone();
      embed_backward(context, tokens, dout.view(), dtable.view());
      return std::vector<TestMatrix>{dtable};
    });
    TestMatrix want = before.clone();
    for (std::int64_t i = 0; i < kRows; ++i) {
      const std::int64_t row = tokens[static_cast<std::size_t>(i)];
      for (std::int64_t c = 0; c < 200; ++c) want.set(row, c, want.at(row, c) + dout.at(i, c));
    }
    EXPECT_TRUE(test::same_bits(want.view(), outputs[0].view()));
  }
}

TEST(Embed, TakesNoTokens) {
  const TestMatrix table(DType::kF32, 3, 4);
  TestMatrix out(DType::kF32, 0, 4), dtable(DType::kF32, 3, 4);
  embed(TestContext(), table.view(), {}, out.view());
  embed_backward(TestContext(), {}, out.view(), dtable.view());
  EXPECT_TRUE(test::same_bits(table.view(), dtable.view()));
}

TEST(Embed, RefusesTokensOutsideTheTable) {
  const TestMatrix table(DType::kF32, 3, 4);
  TestMatrix out(DType::kF32, 1, 4);
  const std::int32_t token = 3;
  EXPECT_DEATH(embed(TestContext(), table.view(), {&token, 1}, out.view()), "token 3");
}

}  // namespace
}  // namespace sluice::kernels
