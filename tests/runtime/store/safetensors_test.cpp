// Safetensors: round trips, files of the field's own writer, and every malformed header we could
// think of.
#include "runtime/store/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "runtime/store/safetensors_header.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::store {
namespace {

using test::TemporaryFolder;
using ::testing::HasSubstr;

std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  return bytes;
}

std::string with_header(const std::string& header, std::size_t data_bytes) {
  return little_endian(header.size()) + header + std::string(data_bytes, '\1');
}

// The message of a file that must not open.
std::string rejection(const std::string& content) {
  TemporaryFolder folder;
  const auto file = SafetensorsFile::open(folder.write("x.safetensors", content));
  if (file) return "(opened)";
  EXPECT_EQ(file.error().kind, ErrorKind::kInvalidInput);
  EXPECT_THAT(file.error().message, HasSubstr("x.safetensors"));
  return file.error().message;
}

Tensor counting(DType dtype, Shape shape) {
  Tensor t = Tensor::zeros(dtype, shape);
  for (std::size_t i = 0; i < t.size_bytes(); ++i) t.bytes()[i] = static_cast<std::byte>(i * 7 + 1);
  return t;
}

void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.bytes(), b.bytes(), a.size_bytes()), 0);
}

TEST(Safetensors, RoundTrip) {
  TemporaryFolder folder;
  const auto path = folder.path() / "t.safetensors";
  const std::vector<std::pair<std::string, Tensor>> tensors{
      {"a", counting(DType::kF32, {3, 5})},
      {"b \"quoted\" \n", counting(DType::kE4M3, {7})},
      {"scalar", counting(DType::kI64, {})},
      {"empty", counting(DType::kBF16, {4, 0})},
      {"c", counting(DType::kBF16, {2, 3, 4, 5})}};
  ASSERT_TRUE(write_safetensors(path, tensors));
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->tensors().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("format"), "pt");
  for (const auto& [name, tensor] : tensors) {
    const auto read = file->read(name);
    ASSERT_TRUE(read) << read.error().message;
    expect_same(*read, tensor);
  }
  EXPECT_FALSE(file->read("absent"));
  EXPECT_EQ(file->tensors().front().offset % 8, 0u);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "t.safetensors.tmp"));
}

TEST(Safetensors, WriterTakesTensorsInAnyOrderAndInParts) {
  TemporaryFolder folder;
  const auto path = folder.path() / "t.safetensors";
  const Tensor a = counting(DType::kF32, {4, 4});
  const Tensor b = counting(DType::kF32, {100});
  {
    auto writer =
        SafetensorsWriter::create(path, {{"a", DType::kF32, {4, 4}}, {"b", DType::kF32, {100}}});
    ASSERT_TRUE(writer);
    EXPECT_EQ(std::filesystem::file_size(path), writer->size_bytes());
    ASSERT_TRUE(writer->write("b", b));
    const std::span<const std::byte> bytes(a.bytes(), a.size_bytes());
    ASSERT_TRUE(writer->write_bytes(writer->position("a"), 20, bytes.subspan(20)));
    ASSERT_TRUE(writer->write_bytes(writer->position("a"), 0, bytes.first(20)));
    ASSERT_TRUE(writer->sync());
  }
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file);
  expect_same(*file->read("a"), a);
  expect_same(*file->read("b"), b);
}

TEST(Safetensors, ReadsWhatTheFieldWrites) {
  const std::string folder = std::string(SLUICE_TEST_DATA) + "/hf/micro/";
  const auto file = SafetensorsFile::open(folder + "expected.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  const auto tokens = file->read("tokens");
  ASSERT_TRUE(tokens);
  EXPECT_EQ(tokens->dtype(), DType::kI32);
  EXPECT_EQ(tokens->shape(), (Shape{2, 14}));
  for (const std::int32_t token : tokens->values<std::int32_t>()) {
    EXPECT_GE(token, 0);
    EXPECT_LT(token, 96);
  }
}

TEST(Safetensors, AllDtypesOfTheFormatAreKnownAndForeignOnesStayOpaque) {
  TemporaryFolder folder;
  const auto path = folder.write(
      "x", with_header(R"({"c":{"dtype":"C64","shape":[2],"data_offsets":[0,16]},)"
                       R"("f4":{"dtype":"F4","shape":[2,3],"data_offsets":[16,19]},)"
                       R"("deep":{"dtype":"BOOL","shape":[1,1,1,1,1,2],"data_offsets":[19,21]}}  )",
                       21));
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->find("c")->dtype, std::nullopt);
  EXPECT_THAT(file->read("f4").error().message, HasSubstr("F4"));
  EXPECT_EQ(file->find("deep")->shape(), std::nullopt);
  EXPECT_EQ(file->find("deep")->shape_text(), "[1, 1, 1, 1, 1, 2]");
}

TEST(Safetensors, RejectsBrokenContainers) {
  EXPECT_THAT(rejection(""), HasSubstr("too few"));
  EXPECT_THAT(rejection("1234567"), HasSubstr("too few"));
  EXPECT_THAT(rejection(little_endian(~0ull) + "{}"), HasSubstr("more than"));
  EXPECT_THAT(rejection(little_endian(100'000'001) + "{}"), HasSubstr("more than"));
  EXPECT_THAT(rejection(little_endian(99'000'000) + "{}"), HasSubstr("truncated"));
  EXPECT_THAT(rejection(little_endian(3) + "{}"), HasSubstr("truncated"));
  EXPECT_THAT(rejection(little_endian(0)), HasSubstr("not a safetensors file"));
  EXPECT_THAT(rejection(with_header("[]", 0)), HasSubstr("not a safetensors file"));
  EXPECT_THAT(rejection(with_header("{", 0)), HasSubstr("not JSON"));
  EXPECT_THAT(rejection(with_header("{}x", 0)), HasSubstr("not JSON"));
  EXPECT_THAT(rejection(with_header("{}", 1)), HasSubstr("follow the last"));
  EXPECT_THAT(rejection(with_header("{\"a\":" + std::string(1'000'000, '['), 0)),
              HasSubstr("array"));
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string rejection_of(const std::string& tensor, std::size_t data_bytes) {
  return rejection(with_header(R"({"a":)" + tensor + "}", data_bytes));
}

TEST(Safetensors, RejectsBrokenEntries) {
  EXPECT_EQ(rejection_of(entry("F32", "[2]", "[0,8]"), 8),
            "(opened)");  // the pattern itself is sound
  EXPECT_THAT(rejection_of(entry("F33", "[2]", "[0,8]"), 8), HasSubstr("unknown dtype \"F33\""));
  EXPECT_THAT(rejection_of(entry("F32", "[3]", "[0,8]"), 8), HasSubstr("does not take"));
  EXPECT_THAT(rejection_of(entry("F32", "[-2]", "[0,8]"), 8), HasSubstr("-2"));
  EXPECT_THAT(rejection_of(entry("F32", "[2.0]", "[0,8]"), 8), HasSubstr("2.0"));
  EXPECT_THAT(rejection_of(entry("F32", "[4611686018427387906]", "[0,8]"), 8),
              HasSubstr("does not take"));
  EXPECT_THAT(rejection_of(entry("F32", "[18446744073709551615]", "[0,8]"), 8),
              HasSubstr("too large"));
  EXPECT_THAT(rejection_of(entry("F32", "[4294967296,4294967296]", "[0,0]"), 0),
              HasSubstr("does not take"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[8,0]"), 8), HasSubstr("backwards"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[0]"), 8), HasSubstr("lacks"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[0,4,8]"), 8), HasSubstr("no place"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[0,8]"), 7), HasSubstr("truncated"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[0,8]"), 9), HasSubstr("follow the last"));
  EXPECT_THAT(rejection_of(entry("F32", "[2]", "[4,12]"), 12), HasSubstr("hole"));
  EXPECT_THAT(rejection_of(entry("F4", "[3]", "[0,1]"), 1), HasSubstr("does not take"));
  EXPECT_THAT(rejection_of("null", 0), HasSubstr("null"));
  EXPECT_THAT(rejection_of("[]", 0), HasSubstr("array"));
  EXPECT_THAT(rejection_of("{}", 0), HasSubstr("lacks"));
  EXPECT_THAT(rejection_of(R"({"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":1})", 0),
              HasSubstr("unknown key"));
  EXPECT_THAT(rejection_of(R"({"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]})", 0),
              HasSubstr("twice"));
}

TEST(Safetensors, RejectsTensorsThatDisagree) {
  const auto two = [](const std::string& a, const std::string& b, const std::string& second = "b") {
    return R"({"a":)" + a + R"(,")" + second + R"(":)" + b + "}";
  };
  const std::string first = entry("U8", "[4]", "[0,4]");
  EXPECT_THAT(rejection(with_header(two(first, entry("U8", "[4]", "[2,6]")), 6)),
              HasSubstr("overlaps"));
  EXPECT_THAT(rejection(with_header(two(first, entry("U8", "[0]", "[2,2]")), 4)),
              HasSubstr("begins at byte"));
  EXPECT_THAT(rejection(with_header(two(first, first), 4)), HasSubstr("overlaps"));
  EXPECT_THAT(rejection(with_header(two(first, entry("U8", "[4]", "[4,8]"), "a"), 8)),
              HasSubstr("twice"));
  EXPECT_THAT(rejection(with_header(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("no place"));
  EXPECT_THAT(rejection(with_header(R"({"__metadata__":{"a":"1","a":"2"}})", 0)),
              HasSubstr("twice"));
  EXPECT_THAT(rejection(with_header(R"({"__metadata__":{},"__metadata__":{}})", 0)),
              HasSubstr("twice"));
}

// Every byte of a small file's header, changed in turn: accepted, or refused with a reason; never
// more.
TEST(Safetensors, SurvivesAnyByteChanged) {
  const std::string header =
      R"({"a":)" + entry("F32", "[2]", "[0,8]") + R"(,"b":)" + entry("U8", "[3]", "[8,11]") + "}";
  ASSERT_TRUE(parse_safetensors_header(header, 11));
  int accepted = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    for (int c = 0; c < 256; ++c) {
      std::string changed = header;
      changed[i] = static_cast<char>(c);
      accepted += parse_safetensors_header(changed, 11) ? 1 : 0;
    }
  }
  // Only a tensor's name may change without harm, and the text itself counts once for every place.
  EXPECT_LT(accepted, static_cast<int>(header.size()) + 2 * 256);
}

TEST(Safetensors, RejectsEveryTruncation) {
  TemporaryFolder folder;
  const std::string whole = with_header(R"({"a":)" + entry("F32", "[2]", "[0,8]") + "}", 8);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(SafetensorsFile::open(folder.write("x", whole.substr(0, size)))) << size;
  }
}

TEST(Safetensors, NeverWaitsForAPipe) {
  TemporaryFolder folder;
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(SafetensorsFile::open(pipe).error().message, HasSubstr("not a plain file"));
  EXPECT_THAT(SafetensorsFile::open(folder.path()).error().message, HasSubstr("not a plain file"));
  EXPECT_THAT(SafetensorsFile::open(folder.path() / "none").error().message,
              HasSubstr("No such file"));
}

}  // namespace
}  // namespace sluice::store
