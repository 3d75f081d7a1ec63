// The architecture's size, against the released checkpoint's listing, and what validate() refuses
// by itself.
#include "graph/model_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace sluice::model {
namespace {

using ::testing::HasSubstr;

TEST(ModelConfig, SizeIsTheReleasedCheckpoints) {
  ModelConfig v3;  // the defaults are DeepSeek-V3's
  const ModelSize main = size_of(v3);
  EXPECT_EQ(main.parameters, 671'026'419'200.0);
  v3.num_nextn_predict_layers = 1;
  const ModelSize with_mtp = size_of(v3);
  EXPECT_EQ(with_mtp.parameters - main.parameters, 11'610'068'224.0);
  // Its 91,991 tensors less 45,808 scales and the two stored copies of embedding and head.
  EXPECT_EQ(with_mtp.tensors, 91'991 - 45'808 - 2);
}

std::string refusal(void (*change)(ModelConfig&)) {
  ModelConfig config;
  change(config);
  const Status status = config.validate();
  return status ? "(accepted)" : status.error().message;
}

TEST(ModelConfig, RefusesWhatCannotBeComputed) {
  EXPECT_EQ(refusal([](ModelConfig&) {}), "(accepted)");
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rms_norm_eps = NAN; }),
              HasSubstr("rms_norm_eps is nan"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.rope_theta = INFINITY; }),
              HasSubstr("rope_theta is inf"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.yarn.emplace().factor = NAN; }),
              HasSubstr("factor is nan"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.yarn.emplace().beta_fast = 0.5; }),
              HasSubstr("less than beta_slow"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.yarn.emplace().mscale = -1.0; }),
              HasSubstr("mscale is -1"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.hidden_size = INT64_MAX; }), HasSubstr("hidden_size"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.num_hidden_layers = INT64_MIN; }),
              HasSubstr("num_hidden_layers"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.moe_layer_freq = 0; }),
              HasSubstr("moe_layer_freq is 0"));
  EXPECT_THAT(refusal([](ModelConfig& c) { c.n_group = 0; }), HasSubstr("n_group is 0"));
}

// Whatever the sizes are, nothing overflows on the way to the refusal.
TEST(ModelConfig, SurvivesEveryExtreme) {
  ModelConfig names;
  int fields = 0;
  names.visit_fields([&](auto&& f) { fields += f.name.empty() ? 0 : 1; });
  for (const double extreme : {-1e18, -1.0, 0.0, 1.0, 16777216.0, 1e18}) {
    for (int chosen = -1; chosen < fields; ++chosen) {  // -1: all at once
      ModelConfig config;
      int index = 0;
      config.visit_fields([&]<class T>(Field<T>&& f) {
        if (chosen == -1 || index == chosen) f.value = static_cast<T>(extreme);
        ++index;
      });
      const Status status = config.validate();
      EXPECT_TRUE(status || !status.error().message.empty());
    }
  }
}

}  // namespace
}  // namespace sluice::model
