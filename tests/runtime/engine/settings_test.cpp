// What the [device] section makes of this machine.
#include "runtime/engine/settings.hpp"

#include <gtest/gtest.h>

#include "runtime/config/config.hpp"

namespace sluice::engine {
namespace {

kernels::Bf16Features dots_of(const std::vector<std::string>& sets) {
  const auto config = config::parse_config("", "test", sets);
  EXPECT_TRUE(config) << config.error().message;
  const auto device = device_config(*config);
  EXPECT_TRUE(device) << device.error().message;
  return device->bf16;
}

void expect_equal(kernels::Bf16Features a, kernels::Bf16Features b) {
  EXPECT_EQ(a.avx512_bf16, b.avx512_bf16);
  EXPECT_EQ(a.amx_bf16, b.amx_bf16);
}

TEST(DeviceSettings, Bf16DotTakesTheFasterProductsOrAllOrNone) {
  const kernels::Bf16Features all = kernels::bf16_features();
  const kernels::Bf16Features automatic = dots_of({"device.bf16_dot=auto"});
  expect_equal(dots_of({}), automatic);
  expect_equal(dots_of({"device.bf16_dot=on"}), all);
  expect_equal(dots_of({"device.bf16_dot=off"}), {});
  expect_equal(dots_of({"device.bf16_dot=on", "device.isa=reference"}), {});
  EXPECT_EQ(automatic.amx_bf16, all.amx_bf16);
  EXPECT_EQ(automatic.avx512_bf16, all.avx512_bf16 && __builtin_cpu_is("intel") == 0);
}

}  // namespace
}  // namespace sluice::engine
