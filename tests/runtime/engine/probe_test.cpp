// The whole model as actors against transformers: hidden states, logits, gates, gradients, losses,
// greedy text and four training steps of the micro checkpoint, within the limits that its README
// states.
#include "runtime/engine/probe.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/runtime/engine/probe_support.hpp"

namespace sluice::engine {
namespace {

const std::string kMicro = std::string(SLUICE_TEST_DATA) + "/hf/micro";

double largest(std::span<const float> values) {
  double out = 0;
  for (const float v : values) out = std::max(out, std::abs(static_cast<double>(v)));
  return out;
}

// Elements that differ by more than `limit`, non-finite ones included.
std::int64_t outside(std::span<const float> want, std::span<const float> got, double limit) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(static_cast<double>(want[i]) - got[i]) <= limit)) ++count;
  }
  return count;
}

void compare(const std::string& name, const Tensor& want, const Tensor& got) {
  ASSERT_EQ(want.shape().count(), got.shape().count()) << name;
  if (want.dtype() == DType::kI32) {
    EXPECT_EQ(std::memcmp(want.bytes(), got.bytes(), want.size_bytes()), 0) << name;
    return;
  }
  const auto expected = want.values<float>();
  if (name.starts_with("grad.")) {
    EXPECT_EQ(outside(expected, got.values<float>(), 5e-5 * largest(expected)), 0) << name;
  } else if (name.starts_with("after.")) {
    EXPECT_LE(outside(expected, got.values<float>(), 2e-5), want.shape().count() / 10000) << name;
  } else {
    EXPECT_EQ(outside(expected, got.values<float>(), 2e-5), 0) << name;
  }
}

TEST(Probe, AgreesWithTransformers) {
  auto oracle = open_oracle(kMicro);
  ASSERT_TRUE(oracle) << oracle.error().message;
  auto result = probe(oracle->checkpoint, oracle->options);
  ASSERT_TRUE(result) << result.error().message;
  std::map<std::string, Tensor> got(result->tensors.begin(), result->tensors.end());
  int compared = 0;
  for (const store::StoredTensor& stored : oracle->expected.tensors()) {
    if (stored.name.starts_with("train.")) continue;
    ASSERT_TRUE(got.contains(stored.name)) << stored.name;
    auto want = oracle->expected.read(stored.name);
    ASSERT_TRUE(want);
    compare(stored.name, *want, got.at(stored.name));
    ++compared;
  }
  EXPECT_GT(compared, 100);

  // expected.json of this checkpoint.
  EXPECT_NEAR(result->batch.main, 4.793236255645752, 1e-5);
  EXPECT_NEAR(result->batch.mtp.at(0), 4.797732353210449, 1e-5);
  EXPECT_NEAR(result->batch.balance, 3.187955617904663, 1e-5);
  EXPECT_NEAR(result->batch.total, 6.264435291290283, 1e-5);
  ASSERT_EQ(result->steps.size(), 4u);
  EXPECT_NEAR(result->steps[3].main, 4.8012213706970215, 1e-5);
  EXPECT_NEAR(result->steps[3].gradient_norm, 1.9358654022216797, 2e-5);
  ASSERT_EQ(result->steps[3].layers.size(), 3u);
  EXPECT_NEAR(result->steps[3].layers[2].max_violation, 1.6666667461395264, 1e-6);
}

}  // namespace
}  // namespace sluice::engine
