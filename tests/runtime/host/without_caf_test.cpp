// All of actors/ links and runs without CAF: this executable holds the whole archive of
// sluice::actors (see CMakeLists.txt) and the simulator, and no more of the runtime.
#include <gtest/gtest.h>

#include "runtime/host/sim_host.hpp"
#include "tests/support/loaded_libraries.hpp"
#include "tests/support/toy_actors.hpp"

namespace sluice::host {
namespace {

TEST(WithoutCaf, ThreeActorsGiveTheSum) {
  kernels::ThreadTeam team(1);
  SimHost::Config config;
  config.compute = {kernels::Isa::kReference, {}, &team, &heap_allocator(), nullptr};
  SimHost host(std::move(config));
  const toy::Sizes sizes{};
  toy::add_toy(host, sizes);
  ASSERT_TRUE(host.start());
  toy::start_toy(host, 10);
  const Result<actors::Message> report = host.receive();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(std::get<actors::LossPart>(report->body).main, toy::toy_sum(sizes, 10));
}

TEST(WithoutCaf, NoCafIsLoaded) {
  EXPECT_TRUE(library_is_loaded("libstdc++"));  // the question can be answered with yes
  EXPECT_FALSE(library_is_loaded("libcaf"));
}

}  // namespace
}  // namespace sluice::host
