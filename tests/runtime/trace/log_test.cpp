// A log read back whole, cut anywhere, changed anywhere, and after its writer was killed.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "runtime/trace/log_reader.hpp"
#include "runtime/trace/log_writer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace sluice::trace {
namespace {

using test::TemporaryFolder;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Every record until the end or an error, and which.
struct Contents {
  std::vector<std::string> records;
  bool closed = false;
  std::string error;
};
Contents read_log(const std::filesystem::path& path) {
  Contents out;
  auto reader = LogReader::open(path);
  if (!reader) return {{}, false, reader.error().message};
  for (;;) {
    const auto record = reader->next();
    if (!record) {
      out.error = record.error().message;
      break;
    }
    if (!*record) break;
    out.records.push_back(text_of((*record)->content));
  }
  out.closed = reader->closed();
  return out;
}

std::vector<std::string> write_log(const std::filesystem::path& path, bool close) {
  std::vector<std::string> records{"", "a", "eight by", std::string(1000, 'x'), "last one"};
  auto writer = LogWriter::create(path);
  EXPECT_TRUE(writer);
  for (const std::string& record : records) {
    const std::size_t half = record.size() / 2;
    (*writer)->append(RecordKind::kSend, bytes_of(record).first(half),
                      bytes_of(record).subspan(half));
  }
  EXPECT_TRUE(!close || (*writer)->close());
  return records;
}

TEST(Log, ComesBackAsItWasWritten) {
  const TemporaryFolder folder;
  const auto records = write_log(folder / "a.log", true);
  const Contents got = read_log(folder / "a.log");
  EXPECT_EQ(got.error, "");
  EXPECT_EQ(got.records, records);
  EXPECT_TRUE(got.closed);
  EXPECT_LT(std::filesystem::file_size(folder / "a.log"), 2000u);
}

// A log that nobody closed, as a killed process leaves it.
TEST(Log, IsReadableWhileItIsWritten) {
  const TemporaryFolder folder;
  const auto records = write_log(folder / "a.log", false);
  const Contents got = read_log(folder / "a.log");
  EXPECT_EQ(got.error, "");
  EXPECT_EQ(got.records, records);
  EXPECT_FALSE(got.closed);
}

TEST(Log, CutAnywhereItGivesTheWholeRecordsBefore) {
  const TemporaryFolder folder;
  const auto records = write_log(folder / "a.log", true);
  const std::string whole = read_file(folder / "a.log");
  for (std::size_t length = 16; length < whole.size(); ++length) {
    write_file(folder / "b.log", whole.substr(0, length));
    const Contents got = read_log(folder / "b.log");
    EXPECT_EQ(got.error, "") << length;
    EXPECT_FALSE(got.closed);
    ASSERT_LE(got.records.size(), records.size());
    EXPECT_TRUE(std::equal(got.records.begin(), got.records.end(), records.begin())) << length;
  }
}

// One bit changed anywhere behind the head of the file: an error that names a byte, or, in the
// padding, nothing at all. Never another record.
TEST(Log, AFlippedBitIsFound) {
  const TemporaryFolder folder;
  const auto records = write_log(folder / "a.log", true);
  const std::string whole = read_file(folder / "a.log");
  int found = 0;
  for (std::size_t at = kLogMagic.size(); at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
    write_file(folder / "b.log", changed);
    const Contents got = read_log(folder / "b.log");
    EXPECT_TRUE(std::equal(got.records.begin(), got.records.end(), records.begin())) << at;
    if (got.error.empty()) {
      EXPECT_EQ(got.records.size(), records.size()) << at;
      continue;
    }
    ++found;
    EXPECT_NE(got.error.find("the record at byte "), std::string::npos) << got.error;
    EXPECT_NE(got.error.find("b.log"), std::string::npos) << got.error;
  }
  EXPECT_GT(found, static_cast<int>(whole.size() - kLogMagic.size()) - 8 * 6);
}

TEST(Log, SomethingElseIsNoLog) {
  const TemporaryFolder folder;
  write_file(folder / "a.log", "{\"not\": \"a log\"}, by far");
  EXPECT_NE(read_log(folder / "a.log").error.find("not a log of sluice"), std::string::npos);
  std::string other(kLogMagic);
  other.back() = 9;
  write_file(folder / "a.log", other);
  EXPECT_NE(read_log(folder / "a.log").error.find("format 9"), std::string::npos);
  EXPECT_NE(read_log(folder / "none").error, "");
}

TEST(Log, RecordsOfSeveralThreadsAndLargerThanTheWindow) {
  const TemporaryFolder folder;
  constexpr int kThreads = 4;
  constexpr int kRecords = 3000;
  auto writer = LogWriter::create(folder / "a.log");
  ASSERT_TRUE(writer);
  const std::string large(5 << 20, 'L');
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&writer, &large, t] {
      for (int i = 0; i < kRecords; ++i) {
        const std::string record = std::to_string(t) + " " + std::to_string(i);
        (*writer)->append(RecordKind::kTask, bytes_of(record));
        if (i == kRecords / 2) (*writer)->append(RecordKind::kPayload, bytes_of(large));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE((*writer)->close());
  const Contents got = read_log(folder / "a.log");
  EXPECT_EQ(got.error, "");
  EXPECT_EQ(got.records.size(), static_cast<std::size_t>(kThreads * (kRecords + 1)));
  std::vector<int> next(kThreads, 0);
  for (const std::string& record : got.records) {
    if (record == large) continue;
    const int t = record[0] - '0';
    EXPECT_EQ(record,
              std::to_string(t) + " " + std::to_string(next[static_cast<std::size_t>(t)]++));
  }
  auto reader = LogReader::open(folder / "a.log");
  ASSERT_TRUE(reader);
  reader->skip_payloads();
  std::size_t records = 0;
  for (auto record = reader->next(); record && *record; record = reader->next()) {
    ++records;
    EXPECT_LT((*record)->content.size(), 100u);
  }
  EXPECT_EQ(records, got.records.size());
}

// The writer is killed in the middle of it, a hundred times: every record that append() returned
// from is there, and no part of another.
TEST(Log, AKilledWriterLeavesEveryRecordItWrote) {
  const TemporaryFolder folder;
  for (int kill_at = 0; kill_at < 100; ++kill_at) {
    int done[2];
    ASSERT_EQ(::pipe(done), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto writer = LogWriter::create(folder / "a.log");
      for (std::uint32_t i = 0;; ++i) {
        (*writer)->append(RecordKind::kSend, bytes_of("record " + std::to_string(i)));
        if (::write(done[1], &i, sizeof(i)) != sizeof(i)) ::_exit(1);
      }
    }
    ::close(done[1]);
    std::uint32_t last = 0;
    for (int i = 0; i <= kill_at * 7; ++i) ASSERT_EQ(::read(done[0], &last, sizeof(last)), 4);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(done[0], &last, sizeof(last)) == 4) {
    }
    ::close(done[0]);
    const Contents got = read_log(folder / "a.log");
    ASSERT_EQ(got.error, "");
    EXPECT_FALSE(got.closed);
    ASSERT_GT(got.records.size(), last);
    EXPECT_LE(got.records.size(), last + 2);  // perhaps one that it had not told of yet
    for (std::size_t i = 0; i < got.records.size(); ++i)
      ASSERT_EQ(got.records[i], "record " + std::to_string(i));
  }
}

TEST(Log, AFullDiskEndsTheLogAndNothingElse) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{6 << 20, 6 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto writer = LogWriter::create(folder / "a.log");
    if (!writer) ::_exit(2);
    const std::string record(1000, 'r');
    for (int i = 0; i < 10'000; ++i) (*writer)->append(RecordKind::kSend, bytes_of(record));
    const Status status = (*writer)->status();
    const bool told = !status && status.error().message.find("a.log") != std::string::npos;
    ::_exit(told && !(*writer)->close() ? 0 : 3);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  const Contents got = read_log(folder / "a.log");
  EXPECT_EQ(got.error, "");
  EXPECT_FALSE(got.closed);
  EXPECT_GT(got.records.size(), 3000u);
}

}  // namespace
}  // namespace sluice::trace
