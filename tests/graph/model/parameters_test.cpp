// Parameters: storage and stacking, initial values, versions, and what an update leaves alone.
#include "graph/model/parameters.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "graph/model/optimizer.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/directional_gradient.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::model {
namespace {

using test::same_bits;
using test::TestContext;

const std::array<std::string, 2> kNames{"a.weight", "b.weight"};
const std::array<std::int64_t, 2> kRows{3, 5};

TEST(ParameterSet, StackedMatricesAreRowsOfOne) {
  ParameterSet set(Recipe::kFp32, ParameterUse::kTraining);
  set.add("norm.weight", ParameterKind::kVector, Shape{4});
  const std::size_t first = set.add_stacked(kNames, kRows, 4);
  EXPECT_EQ(first, 1u);
  const ParameterSet::Whole whole = set.whole(first);
  EXPECT_EQ(whole.compute.shape(), (Shape{8, 4}));
  EXPECT_EQ(set.find("b.weight")->master.bytes(), whole.compute.slice(3, 5).bytes());
  EXPECT_EQ(set.find("b.weight")->gradient.bytes(), whole.gradient.slice(3, 5).bytes());
  EXPECT_EQ(set.find("c.weight"), nullptr);
}

TEST(ParameterSet, RefusesANameTwice) {
  ParameterSet set(Recipe::kFp32, ParameterUse::kInference);
  set.add("a", ParameterKind::kVector, Shape{4});
  EXPECT_DEATH(set.add("a", ParameterKind::kVector, Shape{4}), "registered twice");
}

TEST(ParameterSet, InitialValuesDoNotDependOnTheLayout) {
  ModelConfig config;
  config.initializer_range = 0.5;
  ParameterSet stacked(Recipe::kFp32, ParameterUse::kInference);
  stacked.add_stacked(kNames, kRows, 400);
  stacked.initialize(config, 9);
  ParameterSet alone(Recipe::kFp32, ParameterUse::kTraining);
  alone.add("gate", ParameterKind::kGateBias, Shape{7});
  alone.add("norm", ParameterKind::kVector, Shape{7});
  alone.add("b.weight", ParameterKind::kMatrix, Shape{5, 400});
  alone.initialize(config, 9);
  const Tensor b = alone.find("b.weight")->master;
  EXPECT_TRUE(same_bits(stacked.find("b.weight")->master.view(), b.view()));
  double squares = 0;
  for (const float x : b.values<float>())
    squares += static_cast<double>(x) * static_cast<double>(x);
  EXPECT_NEAR(std::sqrt(squares / 2000), 0.5, 0.03);
  for (const float x : alone.find("norm")->master.values<float>()) EXPECT_EQ(x, 1.0f);
  for (const float x : alone.find("gate")->master.values<float>()) EXPECT_EQ(x, 0.0f);
  alone.initialize(config, 10);
  EXPECT_FALSE(same_bits(stacked.find("b.weight")->master.view(), b.view()));
}

TEST(ParameterSet, HoldsWhatItsUseNeeds) {
  for (const Recipe recipe : {Recipe::kFp32, Recipe::kBf16}) {
    ParameterSet training(recipe, ParameterUse::kTraining);
    ParameterSet inference(recipe, ParameterUse::kInference);
    for (ParameterSet* set : {&training, &inference}) set->add_stacked(kNames, kRows, 4);
    const std::size_t copy = recipe == Recipe::kBf16 ? 2 : 0;
    EXPECT_EQ(training.size_bytes(), 32u * (16 + copy));
    EXPECT_EQ(inference.size_bytes(), 32u * (4 + copy));
    EXPECT_TRUE(inference.all()[0].gradient.empty());
  }
}

TEST(Linear, ProductsOfTheCurrentWeights) {
  const TestContext context;
  ParameterSet set(Recipe::kFp32, ParameterUse::kTraining);
  Linear linear(set, set.add_stacked(kNames, kRows, 4));
  EXPECT_EQ(linear.inputs(), 4);
  EXPECT_EQ(linear.outputs(), 8);
  const Tensor x = test::random_tensor(Shape{2, 4}, 1), dy = test::random_tensor(Shape{2, 8}, 2);
  const Tensor y = Tensor::zeros(DType::kF32, Shape{2, 8});
  const Tensor dx = Tensor::zeros(DType::kF32, Shape{2, 4});
  for (std::uint64_t version = 0; version < 2; ++version) {
    const Tensor w = test::random_tensor(Shape{8, 4}, 5 + version);
    std::ranges::copy(w.values<float>(), linear.weight().values<float>().begin());
    set.refresh_compute(context);
    linear.forward(context, x.view(), y.view());
    linear.backward_input(context, dy.view(), dx.view());
    const auto at = [](const Tensor& t, std::int64_t r, std::int64_t c) {
      return static_cast<double>(t.matrix<const float>().row(r)[c]);
    };
    for (std::int64_t t = 0; t < 2; ++t) {
      for (std::int64_t n = 0; n < 8; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < 4; ++k) sum += at(x, t, k) * at(w, n, k);
        EXPECT_NEAR(at(y, t, n), sum, 1e-5);
      }
      for (std::int64_t k = 0; k < 4; ++k) {
        double sum = 0;
        for (std::int64_t n = 0; n < 8; ++n) sum += at(dy, t, n) * at(w, n, k);
        EXPECT_NEAR(at(dx, t, k), sum, 1e-5);
      }
    }
  }
}

TEST(AdamW, LeavesExpertsAloneThatNoTokenReached) {
  const TestContext context;
  ParameterSet set(Recipe::kFp32, ParameterUse::kTraining);
  const std::size_t reached = set.add("e.0", ParameterKind::kMatrix, Shape{2, 2});
  const std::size_t other = set.add("e.1", ParameterKind::kMatrix, Shape{2, 2});
  const std::size_t bias = set.add("bias", ParameterKind::kGateBias, Shape{2});
  for (const std::size_t index : {reached, other}) {
    set.mark_expert(index);
    for (float& w : set.all()[index].master.values<float>()) w = 1;
  }
  const AdamW adamw{.learning_rate = 0.5f, .weight_decay = 0.1f};
  const std::uint64_t version = set.version();
  set.clear_gradients(context);
  set.mark_reached(reached);
  for (float& g : set.all()[reached].gradient.values<float>()) g = 3;
  adamw.update(context, set);
  EXPECT_GT(set.version(), version);
  // The first update moves by the learning rate whatever the gradient's size, after decay.
  EXPECT_NEAR(set.all()[reached].master.values<float>()[0], 1 - 0.05 - 0.5, 1e-6);
  EXPECT_EQ(set.all()[other].master.values<float>()[0], 1.0f);
  EXPECT_EQ(set.all()[bias].master.values<float>()[0], 0.0f);
  EXPECT_EQ(set.all()[reached].updates, 1);
  EXPECT_EQ(set.all()[other].updates, 0);

  set.clear_gradients(context);
  EXPECT_EQ(set.all()[reached].gradient.values<float>()[0], 0.0f);
  const float before = set.all()[reached].master.values<float>()[0];
  adamw.update(context, set);
  EXPECT_EQ(set.all()[reached].master.values<float>()[0], before);
}

}  // namespace
}  // namespace sluice::model
