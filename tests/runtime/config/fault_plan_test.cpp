// Fault plans: what they say, what a seed draws, and messages for what they must not say.
#include "runtime/config/fault_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/config/config.hpp"

namespace sluice::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kPlan = R"(about = "for the test"
[workload]
config = "micro.toml"
layouts = ["a.b=1  c.d=x", "a.b=2"]
draws = ["e.f = 0 | 1 | 2"]
[link]
lost = 0.25
[worker]
deaths = 3
)";

TEST(FaultPlan, SaysWhatMayBe) {
  const auto plan = parse_fault_plan(kPlan, "x.toml");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->about, "for the test");
  EXPECT_EQ(plan->workload.config, "micro.toml");
  EXPECT_EQ(plan->link.lost, 0.25);
  EXPECT_EQ(plan->link.duplicated, 0);
  EXPECT_EQ(plan->worker.deaths, 3);
  EXPECT_FALSE(plan->disk.full);
}

TEST(FaultPlan, ADrawTakesALayoutAndOneOfEveryList) {
  const auto plan = parse_fault_plan(kPlan, "x.toml");
  ASSERT_TRUE(plan);
  std::vector<std::size_t> asked;
  const auto last = [&](std::size_t n) {
    asked.push_back(n);
    return n - 1;
  };
  EXPECT_THAT(draw_settings(*plan, last), ElementsAre("a.b=2", "e.f=2"));
  EXPECT_THAT(asked, ElementsAre(2u, 3u));
  EXPECT_THAT(draw_settings(*plan, [](std::size_t) { return std::size_t{0}; }),
              ElementsAre("a.b=1", "c.d=x", "e.f=0"));
}

TEST(FaultPlan, NamesWhatIsWrong) {
  const auto refusal = [](std::string_view toml) {
    const auto plan = parse_fault_plan(toml, "x.toml");
    return plan ? std::string("fine") : plan.error().message;
  };
  EXPECT_THAT(refusal(""), HasSubstr("x.toml: workload.config is missing"));
  EXPECT_THAT(refusal("[link]\nlosst = 0.1"),
              HasSubstr("x.toml:2: link.losst is unknown; did you mean link.lost?"));
  EXPECT_THAT(refusal("[link]\nlost = 2"), HasSubstr("x.toml:2: link.lost is 2.0, must be from"));
  EXPECT_THAT(refusal("[disk]\nfull = 1"), HasSubstr("disk.full must be of type flag"));
  EXPECT_THAT(refusal("[workload]\nconfig = \"a\"\ndraws = [\"no list\"]"),
              HasSubstr("\"no list\" must be \"key = value | value\""));
}

// Every setting of every plan there is makes a config.
TEST(FaultPlan, ThoseOfTheRepositoryDrawConfigs) {
  int plans = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_FAULT_PLANS)) {
    if (entry.path().extension() != ".toml" || entry.path().stem() == "micro") continue;
    const auto plan = load_fault_plan(entry.path());
    ASSERT_TRUE(plan) << plan.error().message;
    ++plans;
    std::size_t most = plan->workload.layouts.size();
    for (const std::string& draw : plan->workload.draws)
      most = std::max(most, settings_of(draw).size());
    for (std::size_t i = 0; i < most; ++i) {
      const auto sets = draw_settings(*plan, [i](std::size_t n) { return i % n; });
      const auto config = load_config(plan->file.parent_path() / plan->workload.config, sets);
      EXPECT_TRUE(config) << entry.path() << ": " << config.error().message;
    }
  }
  EXPECT_GE(plans, 7);
}

}  // namespace
}  // namespace sluice::config
