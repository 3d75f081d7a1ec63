// Messages in words, both ways.
#include "runtime/trace/message_pattern.hpp"

#include <gtest/gtest.h>

namespace sluice::trace {
namespace {

const Delivered kCombine{"combine", {3, 1, 2, actors::Topic::kCombine, 1}, "experts 0.1", 17};
const Delivered kTask{"attention done", {2, 4, 1, actors::Topic::kControl, 0}, "", 5};
const Delivered kStart{"StepStart", {7, 0, 0, actors::Topic::kControl, 0}, "supervisor", 0};

bool matches(std::string_view text, const Delivered& delivered) {
  const auto pattern = MessagePattern::parse(text);
  EXPECT_TRUE(pattern) << pattern.error().message;
  return pattern && pattern->matches(delivered);
}

TEST(MessagePattern, WhatIsPrintedIsUnderstood) {
  EXPECT_EQ(to_string(kCombine), "combine of step 3, micro-batch 1, layer 2 from experts 0.1");
  EXPECT_EQ(to_string(kTask), "attention done of step 2, micro-batch 4, layer 1");
  EXPECT_EQ(to_string(kStart), "StepStart of step 7 from supervisor");
  for (const Delivered& one : {kCombine, kTask, kStart}) {
    for (const Delivered& other : {kCombine, kTask, kStart})
      EXPECT_EQ(matches(to_string(one), other), one.what == other.what) << to_string(one);
  }
}

TEST(MessagePattern, WhatIsLeftOutMatchesAnything) {
  EXPECT_TRUE(matches("combine", kCombine));
  EXPECT_TRUE(matches("combine step 3 layer 2", kCombine));
  EXPECT_TRUE(matches("of step 3", kCombine));
  EXPECT_TRUE(matches("from experts 0.1", kCombine));
  EXPECT_TRUE(matches("#17", kCombine));
  EXPECT_FALSE(matches("#16", kCombine));
  EXPECT_FALSE(matches("combine gradient", kCombine));
  EXPECT_FALSE(matches("combine step 4", kCombine));
  EXPECT_FALSE(matches("combine layer 3", kCombine));
  EXPECT_FALSE(matches("combine micro-batch 0", kCombine));
  EXPECT_FALSE(matches("combine from experts 0.0", kCombine));
}

TEST(MessagePattern, OthersAreErrors) {
  for (const char* text :
       {"combine step", "combine step x", "combine step 3 4", "#", "#x", "combine layer -"}) {
    const auto pattern = MessagePattern::parse(text);
    ASSERT_FALSE(pattern) << text;
    EXPECT_EQ(pattern.error().kind, ErrorKind::kInvalidInput);
  }
}

}  // namespace
}  // namespace sluice::trace
