// Hardware descriptions: what is read, and what is said of those that are wrong.
#include "runtime/config/hardware_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::filesystem::path kH800 = SLUICE_CONFIGS "/hardware/h800.toml";

std::string device_text() { return test::read_file(kH800); }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string problem_of(const std::string& text) {
  HardwareFile file;
  std::string rates;
  const Status status = parse_device(text, "box.toml", file, rates);
  return status ? "none" : status.error().message;
}

TEST(HardwareFile, EveryRateSetOfTheH800Reads) {
  EXPECT_THAT(rate_sets(kH800), ElementsAre("cutlass", "deepgemm", "trace"));
  for (const std::string& rates : rate_sets(kH800)) {
    const auto file = load_hardware(kH800, rates);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->hardware.name, "H800");
    EXPECT_EQ(file->hardware.rates.name, rates);
    EXPECT_EQ(file->hardware.sms, 132);
    EXPECT_EQ(file->sources.size(), 51u);  // every number has one
  }
  EXPECT_EQ(load_hardware(kH800, "")->hardware.rates.name, "trace");
}

TEST(HardwareFile, UnknownRatesNameTheKnownOnes) {
  const auto file = load_hardware(kH800, "guess");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(file.error().message, HasSubstr("no rates \"guess\"; there are cutlass, deepgemm"));
  EXPECT_FALSE(load_hardware("/nowhere/box.toml", ""));
}

TEST(HardwareFile, ProblemsSayFileAndLine) {
  EXPECT_EQ(problem_of(device_text()), "none");
  EXPECT_THAT(problem_of(replaced(device_text(), "communication_sms", "comunication_sms")),
              HasSubstr("box.toml:8: unknown key device.comunication_sms; did you mean "
                        "device.communication_sms?"));
  EXPECT_THAT(problem_of(replaced(device_text(), "unit = \"SMs\"", "unit = \"cores\"")),
              HasSubstr("box.toml:7: device.sms.unit must be \"SMs\""));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 132", "value = \"132\"")),
              HasSubstr("box.toml:7: device.sms.value must be a number"));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 132", "value = -1")),
              HasSubstr("must be above 0"));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 132", "value = nan")),
              HasSubstr("must be above 0"));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 132, ", "")),
              HasSubstr("device.sms has no value"));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 132, unit = \"SMs\"", "value = 132")),
              HasSubstr("box.toml:7: device.sms has no unit"));
  EXPECT_THAT(
      problem_of(replaced(device_text(), "unit = \"TB/s\", source", "unit = \"TB/s\", from")),
      HasSubstr("a number has value, unit and source"));
  EXPECT_THAT(problem_of("[device]\nname = \"box\"\nsms = 4"),
              HasSubstr("box.toml:3: device.sms must be { value = ..., unit = \"SMs\""));
  EXPECT_THAT(problem_of("rates = \"x\"\n[device]\nname = \"box\""),
              HasSubstr("device.sms is missing; add device.sms = { value"));
  EXPECT_THAT(problem_of("[device]\nsms = { value = 4, unit = \"SMs\" }\n"),
              HasSubstr("box.toml:2: device.sms has no source"));
  EXPECT_THAT(problem_of(replaced(device_text(), "value = 20", "value = 132")),
              HasSubstr("device.communication_sms 132 leaves none of device.sms 132"));
  EXPECT_THAT(problem_of("[device"), HasSubstr("box.toml:1"));
}

TEST(HardwareFile, ANumberWithoutASourceIsRefused) {
  std::string text = device_text();
  const std::size_t at = text.find(", source");
  text.erase(at, text.find('}', at) - at);
  EXPECT_THAT(problem_of(text), HasSubstr("box.toml:7: device.sms has no source"));
}

TEST(HardwareFile, RatesLieBesideTheFile) {
  const test::TemporaryFolder folder;
  std::filesystem::copy_file(kH800, folder / "box.toml");
  EXPECT_THAT(load_hardware(folder / "box.toml", "").error().message, HasSubstr("there are none"));
  std::filesystem::copy_file(SLUICE_CONFIGS "/hardware/h800.trace.toml", folder / "box.trace.toml");
  EXPECT_TRUE(load_hardware(folder / "box.toml", ""));
}

}  // namespace
}  // namespace sluice::config
