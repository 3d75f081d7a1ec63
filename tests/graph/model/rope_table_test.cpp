// Rotary frequencies and scales: plain, and YaRN against DeepSeek-V3's tables and transformers'
// rules for its factors.
#include "graph/model/rope_table.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace sluice::model {
namespace {

/// As released: factor 40 over 4096 positions.
ModelConfig released() {
  ModelConfig c;  // the defaults are V3's sizes
  Yarn yarn;
  yarn.factor = 40;
  yarn.mscale = yarn.mscale_all_dim = 1.0;
  c.yarn = yarn;
  return c;
}

double m(double s) { return 0.1 * s * std::log(40.0) + 1; }

TEST(RopeTable, FrequenciesAndTablesOfTheReleasedModel) {
  std::ifstream in(SLUICE_TEST_DATA "/deepseek/yarn_v3.json");
  const nlohmann::json expected = nlohmann::json::parse(in);
  const ModelConfig config = released();
  const std::vector<float> frequencies = rope_frequencies(config);
  ASSERT_EQ(frequencies.size(), expected["inv_freq"].size());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float want = expected["inv_freq"][i];
    EXPECT_NEAR(frequencies[i], want, 2e-7f * want) << i;
  }
  EXPECT_NEAR(attention_scale(config), expected["softmax_scale_yarn_192"].get<float>(), 1e-8);
  const kernels::RopeTable table = make_rope_table(config, 4097);
  for (std::size_t row = 0; row < expected["positions"].size(); ++row) {
    const std::int64_t position = expected["positions"][row];
    if (position > 4096) continue;
    const float tolerance = 3e-7f * static_cast<float>(position) + 1e-7f;  // of the angle, in fp32
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      EXPECT_NEAR(table.cosine.matrix<float>().row(position)[i],
                  expected["cos"][row][i].get<float>(), tolerance);
      EXPECT_NEAR(table.sine.matrix<float>().row(position)[i], expected["sin"][row][i].get<float>(),
                  tolerance);
    }
  }
}

TEST(RopeTable, PlainRope) {
  ModelConfig config = released();
  config.yarn.reset();
  const std::vector<float> frequencies = rope_frequencies(config);
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    EXPECT_NEAR(frequencies[i], std::pow(10000.0, -static_cast<double>(i) / 32.0), 1e-7);
  EXPECT_EQ(rope_attention_factor(config), 1.0);
  EXPECT_FLOAT_EQ(attention_scale(config), 1.0f / std::sqrt(192.0f));
}

TEST(RopeTable, FactorsFollowTheKeysThatAreGiven) {
  ModelConfig config = released();
  const double plain = 1 / std::sqrt(192.0);
  EXPECT_EQ(rope_attention_factor(config), 1.0);

  config.yarn->mscale_all_dim = 0.6;
  EXPECT_NEAR(rope_attention_factor(config), m(1) / m(0.6), 1e-12);
  EXPECT_NEAR(attention_scale(config), plain * m(0.6) * m(0.6), 1e-8);

  config.yarn->mscale.reset();  // one alone does not make a ratio
  EXPECT_NEAR(rope_attention_factor(config), m(1), 1e-12);
  EXPECT_NEAR(attention_scale(config), plain * m(0.6) * m(0.6), 1e-8);

  config.yarn->mscale_all_dim = 0.0;  // as if absent
  EXPECT_NEAR(rope_attention_factor(config), m(1), 1e-12);
  EXPECT_NEAR(attention_scale(config), plain, 1e-8);

  config.yarn->attention_factor = 1.25;
  EXPECT_EQ(rope_attention_factor(config), 1.25);
  config.yarn->attention_factor.reset();
  config.yarn->factor = 0.5;  // a shorter context is not sharpened
  EXPECT_EQ(rope_attention_factor(config), 1.0);
}

}  // namespace
}  // namespace sluice::model
