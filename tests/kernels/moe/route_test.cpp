// Routes, and sums along the tree: for any choice of experts and any split of them into contiguous
// groups the same bits as with one group; memory that does not depend on the choice.
#include "kernels/moe/route.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "kernels/base/random.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

// `top_k` different experts for each token, ascending.
std::vector<std::int32_t> choose(std::int64_t experts, std::int64_t tokens, std::int64_t top_k,
                                 std::uint64_t seed) {
  const Random random(seed, RandomPurpose::kTest);
  std::vector<std::int32_t> chosen;
  std::uint64_t draw = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::vector<std::int32_t> mine;
    while (static_cast<std::int64_t>(mine.size()) < top_k) {
      const auto e =
          static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(experts), draw++));
      if (std::find(mine.begin(), mine.end(), e) == mine.end()) mine.push_back(e);
    }
    std::sort(mine.begin(), mine.end());
    chosen.insert(chosen.end(), mine.begin(), mine.end());
  }
  return chosen;
}

TEST(Route, SortsByExpertThenToken) {
  const std::vector<std::int32_t> experts{0, 2, 1, 2, 2, 3, 0, 3};  // 4 tokens, 2 each
  Route r;
  route(experts, 4, 2, 2, 2, r);
  EXPECT_EQ(r.offsets, (std::vector<std::int32_t>{0, 3, 5}));
  EXPECT_EQ(r.tokens, (std::vector<std::int32_t>{0, 1, 2, 2, 3}));
  EXPECT_EQ(r.slots, (std::vector<std::int32_t>{1, 3, 4, 5, 7}));
  EXPECT_EQ(r.rows_max, 8);
  route(experts, 4, 2, 1, 1, r);
  EXPECT_EQ(r.tokens, (std::vector<std::int32_t>{1}));
  EXPECT_EQ(r.rows_max, 4);
  route({}, 0, 2, 0, 3, r);
  EXPECT_EQ(r.offsets, (std::vector<std::int32_t>{0, 0, 0, 0}));
}

TEST(Route, KeepsItsMemory) {
  Route r;
  route(choose(8, 100, 2, 1), 100, 2, 0, 4, r);
  const auto* tokens = r.tokens.data();
  const auto* slots = r.slots.data();
  const std::vector<std::int32_t> all_here(200, 0);
  for (std::uint64_t seed = 2; seed < 20; ++seed) route(choose(4, 100, 2, seed), 100, 2, 0, 4, r);
  EXPECT_EQ(r.tokens.size(), 200u);  // the worst case
  EXPECT_EQ(r.tokens.data(), tokens);
  EXPECT_EQ(r.slots.data(), slots);
}

// Expert outputs that depend on (token, expert) alone, not on the split.
constexpr std::int64_t kColumns = 21;
float output_of(std::int64_t token, std::int64_t expert, std::int64_t column) {
  const Random random(77, RandomPurpose::kTest, static_cast<std::uint64_t>(token));
  return random.normal(static_cast<std::uint64_t>(expert * kColumns + column));
}

TestMatrix outputs_of(const Route& r, std::int64_t first_expert, DType dtype) {
  TestMatrix y(dtype, static_cast<std::int64_t>(r.tokens.size()), kColumns);
  for (std::size_t e = 0; e + 1 < r.offsets.size(); ++e) {
    for (std::int32_t row = r.offsets[e]; row < r.offsets[e + 1]; ++row) {
      for (std::int64_t c = 0; c < kColumns; ++c) {
        y.set(row, c,
              output_of(r.tokens[static_cast<std::size_t>(row)],
                        first_expert + static_cast<std::int64_t>(e), c));
      }
    }
  }
  return y;
}

struct Problem {
  std::int64_t experts, tokens, top_k;
  DType dtype = DType::kF32;
  DType out_dtype = DType::kF32;
};

// Group g owns [bounds[g], bounds[g + 1]).
TestMatrix combine(const ComputeContext& context, const Problem& p,
                   std::span<const std::int32_t> chosen, std::span<const std::int64_t> bounds) {
  std::vector<TreePartial> partials(bounds.size() - 1);
  std::vector<const TreePartial*> groups;
  for (std::size_t g = 0; g + 1 < bounds.size(); ++g) {
    const std::int64_t first = bounds[g], count = bounds[g + 1] - bounds[g];
    Route r;
    route(chosen, p.tokens, p.top_k, first, count, r);
    const TestMatrix y = outputs_of(r, first, p.dtype);
    tree_combine(context, r, first, count, p.tokens, y.view(), partials[g]);
    groups.push_back(&partials[g]);
  }
  TestMatrix out = TestMatrix::random(p.out_dtype, p.tokens, kColumns, 5);  // overwritten
  tree_combine_root(context, groups, p.experts, p.tokens, out.view());
  return out;
}

// The tree as it is defined: a node halves its ids; absent halves are skipped.
struct Sum {
  bool any = false;
  float value = 0;
};
Sum node_sum(const Problem& p, std::span<const std::int32_t> mine, std::int64_t token,
             std::int64_t column, std::int64_t first, std::int64_t size) {
  const auto rounded = [&](float x) {
    return p.dtype == DType::kF32 ? x : BF16::from_float(x).to_float();
  };
  if (size == 1) {
    const bool any = std::find(mine.begin(), mine.end(), first) != mine.end();
    return {any, any ? rounded(output_of(token, first, column)) : 0};
  }
  const Sum left = node_sum(p, mine, token, column, first, size / 2);
  const Sum right = node_sum(p, mine, token, column, first + size / 2, size / 2);
  if (left.any && right.any) return {true, rounded(left.value + right.value)};
  return left.any ? left : right;
}

TestMatrix defined(const Problem& p, std::span<const std::int32_t> chosen) {
  TestMatrix out(p.out_dtype, p.tokens, kColumns);
  const auto whole =
      static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(p.experts)));
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const auto mine =
        chosen.subspan(static_cast<std::size_t>(t * p.top_k), static_cast<std::size_t>(p.top_k));
    for (std::int64_t c = 0; c < kColumns; ++c)
      out.set(t, c, node_sum(p, mine, t, c, 0, whole).value);
  }
  return out;
}

// Every way to cut [0, experts) into contiguous groups: one bit a possible cut.
TEST(TreeCombine, EverySplitGivesTheBitsOfTheDefinition) {
  for (const std::int64_t experts : {1, 2, 3, 5, 6, 7, 8}) {
    for (std::int64_t top_k = 1; top_k <= experts; top_k += 2) {
      const Problem p{experts, 9, top_k};
      const auto chosen =
          choose(experts, p.tokens, top_k, static_cast<std::uint64_t>(experts * 10 + top_k));
      const TestMatrix want = defined(p, chosen);
      for (std::uint32_t cuts = 0; cuts < (1u << (experts - 1)); ++cuts) {
        std::vector<std::int64_t> bounds{0};
        for (std::int64_t e = 1; e < experts; ++e) {
          if ((cuts >> (e - 1) & 1u) != 0) bounds.push_back(e);
        }
        bounds.push_back(experts);
        const TestMatrix got = combine(TestContext(), p, chosen, bounds);
        ASSERT_TRUE(test::same_bits(want.view(), got.view()))
            << experts << " experts, cuts " << cuts;
      }
    }
  }
}

TEST(TreeCombine, EveryChoiceOfExpertsGivesTheBitsOfTheDefinition) {
  // All subsets of 6 experts of equal size, as the tokens of one batch; three splits.
  for (std::int64_t top_k = 1; top_k <= 6; ++top_k) {
    std::vector<std::int32_t> chosen;
    for (std::uint32_t subset = 0; subset < 64; ++subset) {
      if (std::popcount(subset) != top_k) continue;
      for (std::int32_t e = 0; e < 6; ++e) {
        if ((subset >> e & 1u) != 0) chosen.push_back(e);
      }
    }
    const Problem p{6, static_cast<std::int64_t>(chosen.size()) / top_k, top_k};
    const TestMatrix want = defined(p, chosen);
    for (const std::vector<std::int64_t>& bounds :
         {std::vector<std::int64_t>{0, 6}, {0, 3, 6}, {0, 1, 5, 6}, {0, 2, 4, 6}}) {
      EXPECT_TRUE(test::same_bits(want.view(), combine(TestContext(), p, chosen, bounds).view()));
    }
  }
}

TEST(TreeCombine, SetsThreadsTypesAndRandomSplitsAgreeToTheBit) {
  const Random random(8, RandomPurpose::kTest);
  std::uint64_t draw = 0;
  for (const Problem& p : {Problem{256, 40, 8}, Problem{100, 60, 6, DType::kBF16, DType::kBF16},
                           Problem{37, 30, 37, DType::kBF16, DType::kF32},
                           Problem{8, 50, 2, DType::kBF16, DType::kF32},
                           Problem{64, 2000, 2, DType::kF32, DType::kBF16}}) {
    const auto chosen = choose(p.experts, p.tokens, p.top_k, 1);
    const TestMatrix want = defined(p, chosen);
    for (int trial = 0; trial < 4; ++trial) {
      std::vector<std::int64_t> bounds{0, p.experts};
      for (int cut = 0; cut < trial * 2; ++cut) {
        bounds.push_back(1 + static_cast<std::int64_t>(
                                 random.below(static_cast<std::uint64_t>(p.experts - 1), draw++)));
      }
      std::sort(bounds.begin(), bounds.end());
      bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
      const auto got = test::expect_same_bits([&](const ComputeContext& context) {
        return std::vector<TestMatrix>{combine(context, p, chosen, bounds)};
      });
      EXPECT_TRUE(test::same_bits(want.view(), got[0].view()));
    }
  }
}

TEST(TreeCombine, AnAlignedGroupSendsOneRowAToken) {
  const auto chosen = choose(16, 50, 4, 3);
  Route r;
  route(chosen, 50, 4, 8, 8, r);
  const TestMatrix y = outputs_of(r, 8, DType::kF32);
  TreePartial partial;
  const TestContext context;
  tree_combine(context, r, 8, 8, 50, y.view(), partial);
  EXPECT_TRUE(std::adjacent_find(partial.token.begin(), partial.token.end()) ==
              partial.token.end());
  EXPECT_TRUE(std::all_of(partial.node_first.begin(), partial.node_first.end(),
                          [](auto f) { return f == 8; }));
  EXPECT_TRUE(std::all_of(partial.node_size.begin(), partial.node_size.end(),
                          [](auto s) { return s == 8; }));
  EXPECT_EQ(partial.rows.shape()[0], static_cast<std::int64_t>(partial.token.size()));
}

TEST(TreeCombine, ListsNodesInOrder) {
  // Experts [3, 8): nodes [3, 4) and [4, 8). Token 0 has 3, 5, 6; token 1 has 4.
  Route r;
  route(std::vector<std::int32_t>{3, 5, 6, 0, 1, 4}, 2, 3, 3, 5, r);
  const TestMatrix y = outputs_of(r, 3, DType::kF32);
  TreePartial partial;
  tree_combine(TestContext(), r, 3, 5, 2, y.view(), partial);
  EXPECT_EQ(partial.token, (std::vector<std::int32_t>{0, 0, 1}));
  EXPECT_EQ(partial.node_first, (std::vector<std::int32_t>{3, 4, 4}));
  EXPECT_EQ(partial.node_size, (std::vector<std::int32_t>{1, 4, 4}));
  for (std::int64_t c = 0; c < kColumns; ++c) {
    EXPECT_EQ(partial.rows.matrix<float>().row(1)[c], output_of(0, 5, c) + output_of(0, 6, c));
  }
}

TEST(TreeCombine, TakesNoNewMemoryAfterTheFirstStep) {
  const TestContext context(Isa::kReference, 2);
  TreePartial partial;
  int after_first = 0;
  for (std::uint64_t step = 0; step < 10; ++step) {
    Route r;
    route(choose(8, 64, 3, step), 64, 3, 2, 5, r);
    const TestMatrix y = outputs_of(r, 2, DType::kF32);
    partial.rows = {};
    tree_combine(context, r, 2, 5, 64, y.view(), partial);
    if (step == 0) after_first = context.allocator().new_blocks();
  }
  EXPECT_GT(after_first, 0);
  EXPECT_EQ(context.allocator().new_blocks(), after_first);
}

TEST(TreeCombine, NoTokensAndNoRows) {
  const Problem none{4, 0, 2};
  EXPECT_EQ(combine(TestContext(), none, {}, std::vector<std::int64_t>{0, 4}).rows(), 0);
  // Groups that nobody chose, and no group at all: zeros.
  const std::vector<std::int32_t> first_only(5, 0);
  const Problem p{4, 5, 1};
  EXPECT_TRUE(test::same_bits(
      defined(p, first_only).view(),
      combine(TestContext(), p, first_only, std::vector<std::int64_t>{0, 2, 4}).view()));
  TestMatrix out = TestMatrix::random(DType::kF32, 3, kColumns, 1);
  tree_combine_root(TestContext(), {}, 4, 3, out.view());
  EXPECT_TRUE(test::same_bits(TestMatrix(DType::kF32, 3, kColumns).view(), out.view()));
}

TEST(GatherRows, CopiesByIndex) {
  const TestMatrix x = TestMatrix::random(DType::kBF16, 6, 19, 1);
  const std::vector<std::int32_t> index{5, 0, 0, 3};
  const auto got = test::expect_same_bits([&](const ComputeContext& context) {
    TestMatrix out(DType::kBF16, 4, 19);
    gather_rows(context, x.view(), index, out.view());
    return std::vector<TestMatrix>{out};
  });
  for (std::int64_t r = 0; r < 4; ++r) {
    for (std::int64_t c = 0; c < 19; ++c) {
      EXPECT_EQ(got[0].at(r, c), x.at(index[static_cast<std::size_t>(r)], c));
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
