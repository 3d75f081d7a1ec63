// RoPE against DeepSeek's own output, its inverse, the pair formula, and every kernel set bit for
// bit.
#include "kernels/rope/rope.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

RopeTable table_of(std::int64_t positions, std::int64_t dim, double theta = 10000) {
  RopeTable table{Tensor::zeros(DType::kF32, {positions, dim / 2}),
                  Tensor::zeros(DType::kF32, {positions, dim / 2})};
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t i = 0; i < dim / 2; ++i) {
      const double angle = static_cast<double>(p) * std::pow(theta, -2.0 * static_cast<double>(i) /
                                                                        static_cast<double>(dim));
      table.cosine.matrix<float>().row(p)[i] = static_cast<float>(std::cos(angle));
      table.sine.matrix<float>().row(p)[i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

struct Layout {
  const char* key;
  bool interleaved;
};

// DeepSeek's code rotates pairs (2i, 2i+1) in place. transformers first brings a head into halves
// and rotates those: on input that is already in halves that is the same rotation.
TEST(Rope, MatchesDeepSeekAndTransformers) {
  std::ifstream file(SLUICE_TEST_DATA "/deepseek/rope_layout.json");
  const nlohmann::json oracle = nlohmann::json::parse(file);
  const std::int64_t dim = oracle["dim"], first_position = oracle["first_position"];
  for (const Layout layout :
       {Layout{"y_deepseek_interleaved", true}, Layout{"y_hf_half_split", false}}) {
    SCOPED_TRACE(layout.key);
    std::int64_t position = first_position, t = 0;
    for (const auto& heads : oracle["x_b_s_h_d"][0]) {
      const auto n = static_cast<std::int64_t>(heads.size());
      TestMatrix x(DType::kF32, 1, n * dim);
      std::vector<double> want;
      for (std::int64_t h = 0; h < n; ++h) {
        for (std::int64_t i = 0; i < dim; ++i) {
          const std::int64_t source = layout.interleaved ? i
                                      : i < dim / 2      ? 2 * i
                                                         : 2 * i - dim + 1;
          x.set(0, h * dim + i,
                heads[static_cast<std::size_t>(h)][static_cast<std::size_t>(source)]);
          want.push_back(oracle[layout.key][0][static_cast<std::size_t>(t)]
                               [static_cast<std::size_t>(h)][static_cast<std::size_t>(i)]);
        }
      }
      const std::int32_t at = static_cast<std::int32_t>(position);
      rope(TestContext(), table_of(position + 1, dim, oracle["theta"]), {&at, 1},
           {.heads = n,
            .head_stride = dim,
            .first = 0,
            .dim = dim,
            .interleaved = layout.interleaved},
           false, x.view());
      EXPECT_TRUE(test::all_close(want, x.view(), {1e-6, 1e-6, 1e-6}));
      ++position, ++t;
    }
  }
}

struct Case {
  RopeHeads heads;
  std::int64_t rows;
  std::int64_t columns;
};
const Case kCases[] = {
    {{.heads = 4, .head_stride = 96, .first = 64, .dim = 32}, 9, 384},
    {{.heads = 3, .head_stride = 31, .first = 5, .dim = 26}, 7, 93},
    {{.heads = 1, .head_stride = 0, .first = 0, .dim = 64}, 1100, 64},
    {{.heads = 2, .head_stride = 70, .first = 0, .dim = 70}, 5, 140},
    {{.heads = 2, .head_stride = 8, .first = 6, .dim = 2}, 1, 16},
    {{.heads = 2, .head_stride = 8, .first = 0, .dim = 8}, 0, 16},
};

std::vector<std::int32_t> positions_of(std::int64_t rows) {
  std::vector<std::int32_t> positions;
  for (std::int64_t r = 0; r < rows; ++r)
    positions.push_back(static_cast<std::int32_t>(r * 7 % 50));
  return positions;
}

class RopeLayouts : public testing::TestWithParam<std::tuple<DType, bool>> {};
INSTANTIATE_TEST_SUITE_P(All, RopeLayouts,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) ? "Interleaved" : "Halves");
                         });

TEST_P(RopeLayouts, SetsAndThreadsAgreeToTheBit) {
  const auto [dtype, interleaved] = GetParam();
  for (Case c : kCases) {
    c.heads.interleaved = interleaved;
    test::expect_same_bits([&, dtype = dtype](const ComputeContext& context) {
      TestMatrix forward = TestMatrix::random(dtype, c.rows, c.columns, 1), back = forward.clone();
      const RopeTable table = table_of(50, c.heads.dim);
      rope(context, table, positions_of(c.rows), c.heads, false, forward.view());
      rope(context, table, positions_of(c.rows), c.heads, true, back.view());
      return std::vector<TestMatrix>{forward, back};
    });
  }
}

TEST_P(RopeLayouts, InverseUndoesAndOtherColumnsStay) {
  const auto [dtype, interleaved] = GetParam();
  for (Case c : kCases) {
    c.heads.interleaved = interleaved;
    const TestMatrix before = TestMatrix::random(dtype, c.rows, c.columns, 1);
    TestMatrix x = before.clone();
    const RopeTable table = table_of(50, c.heads.dim);
    rope(TestContext(), table, positions_of(c.rows), c.heads, false, x.view());
    for (std::int64_t r = 0; r < c.rows; ++r) {
      for (std::int64_t column = 0; column < c.columns; ++column) {
        const std::int64_t in_head =
            c.heads.head_stride == 0 ? column : column % c.heads.head_stride;
        const bool rotated = in_head >= c.heads.first && in_head < c.heads.first + c.heads.dim;
        const bool still = positions_of(c.rows)[static_cast<std::size_t>(r)] == 0;
        if (!rotated || still) {
          EXPECT_EQ(x.at(r, column), before.at(r, column));
        }
      }
    }
    rope(TestContext(), table, positions_of(c.rows), c.heads, true, x.view());
    const double unit = dtype == DType::kF32 ? 0x1p-22 : 0x1p-7;
    EXPECT_TRUE(test::all_close(before.doubles(), x.view(), {2 * unit, 2 * unit, unit}));
  }
}

TEST(RopeCheck, RefusesPositionsBeyondTheTable) {
  TestMatrix x(DType::kF32, 1, 8);
  const std::int32_t position = 5;
  EXPECT_DEATH(rope(TestContext(), table_of(5, 8), {&position, 1}, {.dim = 8}, false, x.view()),
               "position 5 of 5");
}

}  // namespace
}  // namespace sluice::kernels
