// The tokenizer as a whole: bytes, ends, FIM marks, files, malformed files, linear time.
#include "runtime/tokenizer/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

Tokenizer load(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  EXPECT_TRUE(tokenizer) << (tokenizer ? "" : tokenizer.error().message);
  return std::move(*tokenizer);
}

std::string data(const std::string& name) {
  return std::string(SLUICE_TEST_DATA) + "/tokenizer/" + name;
}

TEST(BytesTokenizer, IdsAreBytes) {
  const Tokenizer tokenizer = load("bytes");
  EXPECT_EQ(tokenizer.vocab_size(), 264);
  EXPECT_EQ(tokenizer.bos_id(), 256);
  EXPECT_EQ(tokenizer.eos_id(), 257);
  ASSERT_TRUE(tokenizer.fim_tokens());
  EXPECT_EQ(tokenizer.fim_tokens()->begin, 258);
  EXPECT_EQ(tokenizer.fim_tokens()->hole, 259);
  EXPECT_EQ(tokenizer.fim_tokens()->end, 260);
  EXPECT_THAT(tokenizer.encode("aé\n").value(), ElementsAre('a', 0xC3, 0xA9, '\n'));
  EXPECT_THAT(tokenizer.encode("", {.add_special_tokens = true}).value(), ElementsAre(256));
  EXPECT_THAT(tokenizer.encode("a<｜end▁of▁sentence｜>").value(), ElementsAre('a', 257));
  EXPECT_EQ(tokenizer.encode("<｜end▁of▁sentence｜>", {.literal = true}).value().size(), 27u);
  EXPECT_EQ(tokenizer.decode(Ids{256, 'h', 'i', 257}, {.skip_special_tokens = true}), "hi");
  EXPECT_EQ(tokenizer.decode(Ids{'h', 0xC3, 'i', 9999}), "h\uFFFDi");
}

TEST(BytesTokenizer, ReplacesIllFormedInput) {
  const Tokenizer tokenizer = load("bytes");
  EXPECT_THAT(tokenizer.encode("a\xFFz").value(), ElementsAre('a', 0xEF, 0xBF, 0xBD, 'z'));
}

TEST(Tokenizer, ItsFilesMakeItAgain) {
  for (const std::string& name : {std::string("bytes"), data("deepseek_like")}) {
    const Tokenizer tokenizer = load(name);
    const auto files = tokenizer.files();
    ASSERT_EQ(files.size(), 2u);
    EXPECT_EQ(files[0].first, "tokenizer.json");
    EXPECT_EQ(files[1].first, "tokenizer_config.json");
    const auto again = Tokenizer::parse(files[0].second, files[1].second, "again");
    ASSERT_TRUE(again);
    EXPECT_EQ(again->digest(), tokenizer.digest());
    EXPECT_EQ(again->encode("Hello").value(), tokenizer.encode("Hello").value());
  }
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = load(data("deepseek_like"));
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.token_text(1), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(tokenizer.token_id("<think>"), 4079);
  EXPECT_EQ(tokenizer.token_text(-1), std::nullopt);
  EXPECT_EQ(tokenizer.token_text(1 << 30), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(4079));
  ASSERT_TRUE(tokenizer.fim_tokens());
  EXPECT_EQ(tokenizer.fim_tokens()->hole, 4081);
  EXPECT_THAT(tokenizer.prefix_ids(), ElementsAre(0));
  EXPECT_TRUE(load(data("gpt2_like")).prefix_ids().empty());
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = load(data("deepseek_like"));
  std::ifstream file(data("deepseek_like") + "/cases.json");
  const Json cases = Json::parse(file)["cases"];
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (const Json& c : cases) {
        EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>()).value(), c["ids"].get<Ids>());
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

class LinearTime : public testing::TestWithParam<const char*> {};

// Four times the text in less than twelve times the time, and all back as it was. A quadratic step
// takes minutes here.
TEST_P(LinearTime, LongTextsOfEveryKind) {
  const Tokenizer tokenizer = load(GetParam() == std::string("bytes") ? "bytes" : data(GetParam()));
  const std::size_t size = 1 << 19;
  for (const std::string unit :
       {"a", " ", "\n", "7", "ab", "A b\n", "你好", "!", "\u0301", "\t "}) {
    SCOPED_TRACE(unit);
    std::vector<double> seconds;
    for (const std::size_t bytes : {size / 4, size}) {
      std::string text;
      while (text.size() < bytes) text += unit;
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer.encode(text);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      seconds.push_back(taken.count());
      ASSERT_TRUE(ids) << ids.error().message;
      EXPECT_EQ(tokenizer.decode(*ids), text);
    }
    EXPECT_LT(seconds[1], 12 * seconds[0] + 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, LinearTime, testing::Values("bytes", "deepseek_like", "gpt2_like"),
                         [](const auto& info) { return std::string(info.param); });

Json small_tokenizer() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": " "}, "behavior": "Isolated"},
    "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
}

std::string parse_error(const Json& json, const std::string& config = "") {
  const auto tokenizer = Tokenizer::parse(json.dump(), config, "t/tokenizer.json");
  if (tokenizer) return "";
  EXPECT_EQ(tokenizer.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("t/tokenizer.json"));
  return tokenizer.error().message;
}

TEST(MalformedTokenizer, NamesTheKey) {
  ASSERT_EQ(parse_error(small_tokenizer()), "");
  const auto with = [](const char* pointer, Json value) {
    Json json = small_tokenizer();
    json[Json::json_pointer(pointer)] = std::move(value);
    return parse_error(json);
  };
  EXPECT_THAT(with("/model", nullptr), HasSubstr("model is missing"));
  EXPECT_THAT(with("/model", 5), HasSubstr("expected an object"));
  EXPECT_THAT(with("/model/type", "Unigram"), HasSubstr("'Unigram' is not supported"));
  EXPECT_THAT(with("/model/vocab", Json::array()), HasSubstr("model.vocab is array"));
  EXPECT_THAT(with("/model/vocab/a", -1), HasSubstr("model.vocab['a'] is -1"));
  EXPECT_THAT(with("/model/vocab/a", 1.5), HasSubstr("model.vocab['a'] is 1.5"));
  EXPECT_THAT(with("/model/vocab/a", 18446744073709551615u), HasSubstr("model.vocab['a']"));
  EXPECT_THAT(with("/model/vocab/a", 2000000000), HasSubstr("id 2000000000"));
  EXPECT_THAT(with("/model/merges", {}), HasSubstr("model.merges"));
  EXPECT_THAT(with("/model/merges/0", "a"), HasSubstr("model.merges[0]"));
  EXPECT_THAT(with("/model/merges/0", "b b"), HasSubstr("'bb' is not in model.vocab"));
  EXPECT_THAT(with("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(with("/model/byte_fallback", "yes"), HasSubstr("model.byte_fallback is string"));
  EXPECT_THAT(with("/pre_tokenizer/pattern/Regex", "("), HasSubstr("bad pattern"));
  EXPECT_THAT(with("/pre_tokenizer/pattern", {}), HasSubstr("pre_tokenizer.pattern"));
  EXPECT_THAT(with("/pre_tokenizer/behavior", "Shuffled"), HasSubstr("pre_tokenizer.behavior"));
  EXPECT_THAT(with("/pre_tokenizer/type", "BertPreTokenizer"), HasSubstr("not supported"));
  EXPECT_THAT(with("/decoder/type", "CTC"), HasSubstr("not supported"));
  EXPECT_THAT(with("/normalizer", {{"type", "Precompiled"}}), HasSubstr("not supported"));
  EXPECT_THAT(with("/added_tokens", 3), HasSubstr("added_tokens is number"));
  EXPECT_THAT(with("/added_tokens/0/content", 3), HasSubstr("added_tokens[0].content"));
  EXPECT_THAT(with("/added_tokens/0/id", -3), HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(with("/added_tokens/0/content", std::string(5000, 'x')), HasSubstr("5000 bytes"));
  EXPECT_THAT(with("/post_processor", {{"type", "TemplateProcessing"}, {"single", Json::array()}}),
              HasSubstr("post_processor.single"));
  EXPECT_THAT(with("/post_processor",
                   {{"type", "BertProcessing"}, {"cls", {"a", 0}}, {"sep", {"z", 999999}}}),
              HasSubstr("post_processor adds token id 999999"));
}

TEST(MalformedTokenizer, NestingHasALimit) {
  Json json = small_tokenizer(), deep = {{"type", "Fuse"}};
  for (int i = 0; i < 1000; ++i) deep = {{"type", "Sequence"}, {"decoders", Json::array({deep})}};
  json["decoder"] = deep;
  EXPECT_THAT(parse_error(json), HasSubstr("nested"));
}

TEST(MalformedTokenizer, TruncatedAnywhereIsAnErrorWithTheLine) {
  const std::string whole = small_tokenizer().dump(1);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto tokenizer = Tokenizer::parse(whole.substr(0, size), "", "t");
    ASSERT_FALSE(tokenizer) << size;
    ASSERT_THAT(tokenizer.error().message, HasSubstr("line "));
  }
}

TEST(MalformedTokenizer, ConfigIsCheckedToo) {
  EXPECT_THAT(parse_error(small_tokenizer(), "{"), HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(parse_error(small_tokenizer(), R"({"bos_token": 3})"), HasSubstr("bos_token"));
  EXPECT_THAT(parse_error(small_tokenizer(), R"({"added_tokens_decoder": {"x": {}}})"),
              HasSubstr("added_tokens_decoder"));
  EXPECT_THAT(
      parse_error(small_tokenizer(), R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null})"),
      HasSubstr("add_bos_token"));
}

TEST(MalformedTokenizer, MissingFilesAreNamed) {
  const auto absent = Tokenizer::load("/no/such/folder");
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, HasSubstr("/no/such/folder"));
  const auto empty = Tokenizer::load(SLUICE_TEST_DATA);
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().message, HasSubstr("tokenizer.json"));
}

}  // namespace
}  // namespace sluice
