// Every layer's backward passes against finite differences of its forward pass.
#include <gtest/gtest.h>

#include "graph/model/ends.hpp"
#include "graph/model/feed_forward.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/directional_gradient.hpp"
#include "tests/support/model_cases.hpp"

namespace sluice::test {
namespace {

using model::Batch;
using model::ParameterSet;
using model::ParameterUse;
using model::Recipe;

class GradientTest : public testing::Test {
 protected:
  static constexpr std::int64_t kSequences = 2, kLength = 7, kTokens = kSequences * kLength;

  explicit GradientTest(const model::ModelConfig& config = small_config())
      : config_(config), constants_(model::make_constants(config, Recipe::kFp32, 16)) {}

  /// Vectors too become random, so that a missing factor shows.
  void initialize(std::uint64_t seed = 3) {
    set_.initialize(config_, seed);
    for (model::Parameter& p : set_.all()) {
      if (p.kind == model::ParameterKind::kMatrix) continue;
      const Tensor noise = random_tensor(p.shape, digest_of(p.name), 0.2f);
      for (std::size_t i = 0; i < noise.values<float>().size(); ++i)
        p.master.values<float>()[i] += noise.values<float>()[i];
    }
    set_.refresh_compute(context_);
  }
  static std::uint64_t digest_of(const std::string& name) { return name.size() * 31 + 5; }

  /// `loss` is that of a fresh pass over x_ and the parameters, whose gradients are in place.
  void check(const std::function<double()>& loss, const Tensor& dx, float step = 4e-3f,
             double tolerance = 3e-3) {
    const auto fresh = [&] {
      set_.bump_version();
      return loss();
    };
    if (!dx.empty()) expect_gradient("x", x_.values<float>(), dx, fresh, step, tolerance);
    for (model::Parameter& p : set_.all()) {
      if (p.kind == model::ParameterKind::kGateBias) continue;
      expect_gradient(p.name, p.master.values<float>(), p.gradient, fresh, step, tolerance);
    }
  }

  model::ModelConfig config_;
  TestContext context_{kernels::best_isa(), 2};
  std::shared_ptr<const model::ModelConstants> constants_;
  ParameterSet set_{Recipe::kFp32, ParameterUse::kTraining};
  Batch batch_ = model::make_batch(kSequences, kLength);
  Tensor x_ = random_tensor(Shape{kTokens, config_.hidden_size}, 1);
  Tensor dy_ = random_tensor(Shape{kTokens, config_.hidden_size}, 2);
};

TEST_F(GradientTest, Norm) {
  model::Norm norm(constants_, "norm", set_);
  initialize();
  model::Norm::Saved saved;
  (void)norm.forward(context_, x_, true, saved);
  const Tensor dx = norm.backward_input(context_, dy_, saved);
  EXPECT_TRUE(saved.x.empty());
  norm.backward_weights(context_, saved);
  check([&] { return dot(norm.forward(context_, x_, false, saved), dy_); }, dx);
}

TEST_F(GradientTest, FeedForward) {
  model::FeedForward ffn(set_, "mlp.", config_.hidden_size, config_.intermediate_size);
  initialize();
  model::FeedForward::Saved saved;
  (void)ffn.forward(context_, x_, true, saved);
  const Tensor dx = ffn.backward_input(context_, dy_, saved);
  ffn.backward_weights(context_, saved);
  check([&] { return dot(ffn.forward(context_, x_, false, saved), dy_); }, dx);
}

class MlaGradientTest : public GradientTest, public testing::WithParamInterface<std::int64_t> {
 protected:
  static model::ModelConfig config() {
    model::ModelConfig c = small_config();
    c.q_lora_rank = GetParam();
    return c;
  }
  MlaGradientTest() : GradientTest(config()) {}
};

TEST_P(MlaGradientTest, Mla) {
  model::Mla mla(constants_, "self_attn.", set_);
  initialize();
  model::Mla::Saved saved;
  (void)mla.forward(context_, batch_, x_, true, saved);
  const Tensor dx = mla.backward_input(context_, batch_, dy_, saved);
  mla.backward_weights(context_, saved);
  check([&] { return dot(mla.forward(context_, batch_, x_, false, saved), dy_); }, dx);
}

INSTANTIATE_TEST_SUITE_P(QueryLatent, MlaGradientTest, testing::Values(18, 0),
                         testing::PrintToStringParamName());

TEST_F(GradientTest, DenseLayer) {
  model::DecoderLayer layer(constants_, 0, set_);
  ASSERT_FALSE(layer.is_moe());
  initialize();
  const auto forward = [&](bool keep, model::DecoderLayer::Saved& saved) {
    (void)layer.attention_forward(context_, batch_, x_, keep, saved);
    return layer.dense_forward(context_, keep, saved);
  };
  const auto saved = model::DecoderLayer::make_saved();
  (void)forward(true, *saved);
  const Tensor dhidden = layer.dense_backward(context_, dy_, *saved);
  const Tensor dx = layer.attention_backward(context_, batch_, dhidden, *saved);
  layer.backward_weights(context_, *saved);
  check(
      [&] {
        const auto fresh = model::DecoderLayer::make_saved();
        return dot(forward(false, *fresh), dy_);
      },
      dx);
}

/// A layer of experts in two unequal groups, with what their messages carry.
class MoeGradientTest : public GradientTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr float kBalance = 0.7f;
  static constexpr std::uint64_t kSeed = 14;  // every expert has tokens, no choice is close

  static model::ModelConfig config() {
    model::ModelConfig c = small_config();
    c.norm_topk_prob = GetParam() != 1;
    c.n_shared_experts = GetParam() == 2 ? 0 : 2;
    return c;
  }
  MoeGradientTest() : GradientTest(config()), layer_(constants_, 1, set_) {
    groups_.emplace_back(constants_, 1, 0, 3, set_);
    groups_.emplace_back(constants_, 1, 3, 5, set_);
  }

  Tensor forward(bool keep) {
    saved_ = model::DecoderLayer::make_saved();
    const auto attended = layer_.attention_forward(context_, batch_, x_, keep, *saved_);
    experts_ = attended.routing.experts;
    balance_ = layer_.balance(context_, batch_, *saved_);
    std::vector<kernels::TreePartial> partials;
    group_saved_.clear();
    for (model::ExpertBlock& group : groups_) {
      group_saved_.push_back(model::ExpertBlock::make_saved());
      partials.push_back(
          group.forward(context_, attended.normed, attended.routing, keep, *group_saved_.back()));
    }
    const std::vector<const kernels::TreePartial*> pointers{&partials[0], &partials[1]};
    const Tensor shared = layer_.shared_forward(context_, keep, *saved_);
    return layer_.combine_forward(context_, shared, pointers, *saved_);
  }
  Tensor backward() {
    const model::ExpertGradients a = groups_[0].backward_input(context_, dy_, *group_saved_[0]);
    const model::ExpertGradients b = groups_[1].backward_input(context_, dy_, *group_saved_[1]);
    const std::vector<const model::ExpertGradients*> pointers{&a, &b};
    const Tensor dshared = layer_.shared_backward(context_, dy_, *saved_);
    const Tensor dhidden =
        layer_.combine_backward(context_, dy_, dshared, pointers, kBalance, *saved_);
    const Tensor dx = layer_.attention_backward(context_, batch_, dhidden, *saved_);
    layer_.backward_weights(context_, *saved_);
    for (std::size_t i = 0; i < groups_.size(); ++i)
      groups_[i].backward_weights(context_, *group_saved_[i]);
    return dx;
  }

  model::DecoderLayer layer_;
  std::vector<model::ExpertBlock> groups_;
  model::DecoderLayer::SavedPtr saved_;
  std::vector<model::ExpertBlock::SavedPtr> group_saved_;
  Tensor experts_;
  double balance_ = 0;
};

TEST_P(MoeGradientTest, LayerWithGateExpertsAndBalanceLoss) {
  initialize(kSeed);
  (void)forward(true);
  const Tensor chosen = experts_;
  const Tensor dx = backward();
  check(
      [&] {
        const double loss = dot(forward(false), dy_);
        // The loss jumps where another expert is chosen; the steps must stay clear of that.
        EXPECT_TRUE(
            std::ranges::equal(chosen.values<std::int32_t>(), experts_.values<std::int32_t>()));
        return loss + static_cast<double>(kBalance) * balance_;
      },
      dx, 4e-4f, 6e-3);
}

INSTANTIATE_TEST_SUITE_P(Variants, MoeGradientTest, testing::Values(0, 1, 2), [](const auto& info) {
  return std::string(info.param == 0   ? "Normalised"
                     : info.param == 1 ? "PlainWeights"
                                       : "NoSharedExperts");
});

TEST_F(GradientTest, MtpModule) {
  model::MtpModule module(constants_, 1, set_);
  initialize();
  const Tensor embedding = random_tensor(x_.shape(), 9);
  model::MtpModule::Saved saved;
  const auto forward = [&](bool keep) {
    const Tensor z = module.input_forward(context_, x_, embedding, keep, saved);
    return module.output_forward(context_, z, keep, saved);  // without the layer in between
  };
  (void)forward(true);
  const Tensor dz = module.output_backward(context_, dy_, saved);
  const model::MtpModule::InputGradients d = module.input_backward(context_, dz, saved);
  module.backward_weights(context_, saved);
  const auto loss = [&] {
    set_.bump_version();
    return dot(forward(false), dy_);
  };
  expect_gradient("h", x_.values<float>(), d.h, loss);
  expect_gradient("embedding", embedding.values<float>(), d.embedding, loss);
  for (const char* name :
       {"enorm.weight", "hnorm.weight", "eh_proj.weight", "shared_head.norm.weight"}) {
    model::Parameter* p = set_.find(std::string("model.layers.3.") + name);
    ASSERT_NE(p, nullptr) << name;
    expect_gradient(name, p->master.values<float>(), p->gradient, loss);
  }
}

TEST_F(GradientTest, HeadInBlocksOfRows) {
  model::Head head(constants_, set_);
  initialize();
  const Tensor targets = random_tokens(config_, 1, kTokens - 2, 4).reshaped(Shape{kTokens});
  targets.values<std::int32_t>()[3] = -1;  // ignored
  const float scale = 0.25f;
  const model::Head::Loss loss = head.loss(context_, x_, targets, true, scale);
  EXPECT_EQ(loss.sum, head.loss(context_, x_, targets, false, 0).sum);
  check([&] { return 0.25 * head.loss(context_, x_, targets, false, 0).sum; }, loss.dh);
}

TEST_F(GradientTest, Embedding) {
  model::Embedding embedding(constants_, set_);
  initialize();
  const Tensor tokens = random_tokens(config_, 1, kTokens - 2, 4).reshaped(Shape{kTokens});
  embedding.backward(context_, tokens, dy_);
  check([&] { return dot(embedding.forward(context_, tokens), dy_); }, {});
}

}  // namespace
}  // namespace sluice::test
