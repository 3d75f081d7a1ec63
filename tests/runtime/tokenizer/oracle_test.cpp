// Every tokenizer of tests/data/tokenizer against what the tokenizers library gave for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/tokenizer/tokenizer.hpp"

namespace sluice {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

std::string folder_of(const std::string& name) {
  return std::string(SLUICE_TEST_DATA) + "/tokenizer/" + name;
}

Json read_json(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(""))) {
    found.push_back(entry.path().filename().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

class TokenizerOracle : public testing::TestWithParam<std::string> {
 protected:
  Tokenizer load() const {
    auto tokenizer = Tokenizer::load(folder_of(GetParam()));
    EXPECT_TRUE(tokenizer) << (tokenizer ? "" : tokenizer.error().message);
    return std::move(*tokenizer);
  }
  Json read(const std::string& file) const { return read_json(folder_of(GetParam()) + "/" + file); }
};

TEST_P(TokenizerOracle, EncodesAndDecodesEveryCase) {
  const Tokenizer tokenizer = load();
  const Json cases = read("cases.json")["cases"];
  ASSERT_GE(cases.size(), 50u);
  for (const Json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<Ids>();
    const auto or_ids = [&](const char* key) { return c.contains(key) ? c[key].get<Ids>() : ids; };
    const auto or_text = [&](const char* key) { return c.value(key, text); };
    EXPECT_EQ(tokenizer.encode(text).value(), ids);
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = true}).value(), or_ids("ids_special"));
    EXPECT_EQ(tokenizer.encode(text, {.literal = true}).value(), or_ids("ids_literal"));
    EXPECT_EQ(tokenizer.decode(or_ids("ids_special")), or_text("decoded"));
    EXPECT_EQ(tokenizer.decode(or_ids("ids_special"), {.skip_special_tokens = true}),
              or_text("decoded_skip"));
  }
}

TEST_P(TokenizerOracle, StreamsEveryCase) {
  const Tokenizer tokenizer = load();
  const Json streams = read("streams.json")["streams"];
  ASSERT_GE(streams.size(), 10u);
  for (const Json& s : streams) {
    SCOPED_TRACE(s["name"].get<std::string>());
    StreamDecoder decoder(tokenizer, {.skip_special_tokens = s["skip_special"].get<bool>()});
    decoder.prime(s.value("prompt_ids", Ids{}));
    std::vector<std::string> emitted;
    for (const auto id : s["ids"].get<Ids>()) emitted.push_back(decoder.push(id));
    EXPECT_EQ(emitted, s["emit"].get<std::vector<std::string>>());
    EXPECT_EQ(decoder.finish(), s["finish"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Data, TokenizerOracle, testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sluice
