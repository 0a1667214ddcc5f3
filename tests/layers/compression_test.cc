#include "layers/compression.h"

#include <catch2/catch.hpp>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "tests/support/archive.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

/// Text that compresses somewhat, with runs, repeats and noise.
std::string sample(std::mt19937& random, std::size_t size) {
    std::string text;
    text.reserve(size + 1000);
    while (text.size() < size) {
        switch (random() % 4) {
            case 0:
                text.append(random() % 500, static_cast<char>(random()));
                break;
            case 1:
                for (unsigned n = random() % 200; n != 0; --n) text += static_cast<char>(random());
                break;
            case 2:
                if (!text.empty()) text += text.substr(random() % text.size(), random() % 300);
                break;
            default:
                text += "the quick brown fox " + std::to_string(random() % 1000);
        }
    }
    text.resize(size);
    return text;
}

std::string packed(const std::string& plain, Compression compression,
                   std::size_t piece = std::size_t{1} << 20) {
    StringSink sink;
    const auto compressor = compress(sink, compression);
    for (std::size_t at = 0; at < plain.size(); at += piece)
        compressor->write(as_bytes(plain).subspan(at, std::min(piece, plain.size() - at)));
    compressor->finish();
    return std::move(sink.text);
}

std::string unpacked(std::string_view bytes, Compression compression,
                     std::size_t at_a_time = std::size_t{1} << 20, std::size_t buffer_size = 100'000) {
    DripSource source(bytes, at_a_time);
    const auto decompressor = decompress(source, compression);
    std::string plain, buffer(buffer_size, '\0');
    while (const std::size_t n = decompressor->read(std::as_writable_bytes(std::span(buffer))))
        plain.append(buffer, 0, n);
    return plain;
}

std::string refusal(std::string_view bytes, Compression compression) {
    try {
        unpacked(bytes, compression);
        return "accepted";
    } catch (const Error& e) {
        CHECK(e.code() == Errc::corrupt);
        CHECK_FALSE(e.hint().empty());
        return e.what();
    }
}

/// What the format's own program makes of `plain`.
std::string by_program(const std::string& program, const std::string& plain) {
    const CommandResult result = run_command({program, "-c"}, plain);
    REQUIRE(result.status.ok());
    return result.output;
}

constexpr std::pair<Compression, const char*> kPrograms[] = {{Compression::gzip, "gzip"},
                                                             {Compression::zstd, "zstd"},
                                                             {Compression::bzip2, "bzip2"},
                                                             {Compression::xz, "xz"}};

}  // namespace

TEST_CASE("what is compressed comes back, whatever its size and however it is cut", "[layers][compression]") {
    INFO("SURCOAT_TEST_SEED=" << archive_seed());
    std::mt19937 random(archive_seed());
    for (const Compression compression : {Compression::none, Compression::gzip, Compression::zstd}) {
        INFO(to_string(compression));
        for (const std::size_t size :
             {std::size_t{0}, std::size_t{1}, std::size_t{262143}, std::size_t{262144}, std::size_t{262145},
              std::size_t{524288}, std::size_t{3'000'000}}) {
            INFO(size);
            const std::string plain = sample(random, size);
            const std::string bytes = packed(plain, compression);
            CHECK((unpacked(bytes, compression) == plain));
            if (size <= 262145) CHECK((unpacked(bytes, compression, 1, 1000) == plain));
            CHECK((unpacked(bytes, compression, 777, 1 << 22) == plain));
            // Deterministic, whatever the pieces that it is written in.
            CHECK((packed(plain, compression, 1000) == bytes));
            CHECK((packed(plain, compression, 262144) == bytes));
            if (compression != Compression::none) CHECK(sniff_compression(as_bytes(bytes)) == compression);
        }
    }
}

TEST_CASE("a gzip header says nothing of when, what and where", "[layers][compression]") {
    CHECK(packed("x", Compression::gzip).substr(0, 10) == std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10));
}

TEST_CASE("the formats' own programs read what we write, and we read what they write",
          "[layers][compression][oracle]") {
    INFO("SURCOAT_TEST_SEED=" << archive_seed());
    std::mt19937 random(archive_seed());
    for (const auto& [compression, program] : kPrograms) {
        INFO(program);
        if (const auto missing = cannot_find(program)) {
            WARN("skipped: " << *missing);
            continue;
        }
        for (const std::size_t size : {std::size_t{0}, std::size_t{100}, std::size_t{1'500'000}}) {
            INFO(size);
            const std::string plain = sample(random, size);
            const std::string bytes = by_program(program, plain);
            CHECK(sniff_compression(as_bytes(bytes)) == compression);
            CHECK((unpacked(bytes, compression) == plain));
            CHECK((unpacked(bytes, compression, 1, 5000) == plain));
            // Several members or frames, one behind the other, are one stream.
            CHECK((unpacked(bytes + by_program(program, "second"), compression) == plain + "second"));
            if (compression == Compression::gzip || compression == Compression::zstd) {
                const CommandResult back = run_command({program, "-dc"}, packed(plain, compression));
                CHECK(back.status.ok());
                CHECK((back.output == plain));
            }
        }
    }
}

TEST_CASE("compressed data that is cut off is refused wherever the cut is", "[layers][compression]") {
    std::mt19937 random(7);
    const std::string plain = sample(random, 20'000);
    for (const auto& [compression, program] : kPrograms) {
        INFO(program);
        if (cannot_find(program)) continue;
        const std::string bytes = by_program(program, plain);
        const std::size_t step =
            compression == Compression::gzip || compression == Compression::zstd ? 1 : 97;
        for (std::size_t size = 0; size < bytes.size(); size += step) {
            INFO("after " << size << " of " << bytes.size());
            CHECK_THAT(refusal(std::string_view(bytes).substr(0, size), compression),
                       Catch::Contains("is damaged after byte"));
        }
    }
    CHECK_THAT(refusal(packed(plain, Compression::gzip).substr(0, 5000), Compression::gzip),
               Catch::Contains("gzip data is damaged after byte 5000: the input ends inside a member"));
    CHECK_THAT(refusal(packed(plain, Compression::zstd).substr(0, 5000), Compression::zstd),
               Catch::Contains("zstd data is damaged after byte 5000: the input ends inside a frame"));
}

TEST_CASE("bytes behind compressed data that are not more of it are refused", "[layers][compression]") {
    for (const Compression compression : {Compression::gzip, Compression::zstd}) {
        const std::string bytes = packed("hello", compression);
        for (const std::string& garbage :
             {std::string("g"), std::string("\x1f"), std::string("\0", 1), std::string(600, '\0'),
              std::string("garbage behind the end"), std::string("\x1f\x8b\x08\xe0zzzzzz")}) {
            INFO(to_string(compression) << " + " << printable(garbage));
            CHECK_THAT(refusal(bytes + garbage, compression), Catch::Contains("is damaged after byte"));
        }
    }
}

TEST_CASE("flipped bits in compressed data are found, or harmless", "[layers][compression]") {
    INFO("SURCOAT_TEST_SEED=" << archive_seed());
    std::mt19937 random(archive_seed());
    const std::string plain = sample(random, 30'000);
    for (const Compression compression : {Compression::gzip, Compression::zstd}) {
        INFO(to_string(compression));
        const std::string bytes = packed(plain, compression);
        std::size_t refused = 0;
        for (int round = 0; round < 400; ++round) {
            std::string changed = bytes;
            const std::size_t at = random() % changed.size();
            changed[at] ^= static_cast<char>(1 << random() % 8);
            INFO("byte " << at);
            try {
                const std::string read = unpacked(changed, compression);
                CHECK((read == plain));  // a time in the header, for instance
            } catch (const Error& e) {
                CHECK(e.code() == Errc::corrupt);
                ++refused;
            }
        }
        CHECK(refused > 350);
    }
}

TEST_CASE("a wrong checksum or length at the end of gzip data is found", "[layers][compression]") {
    const std::string bytes = packed("hello", Compression::gzip);
    for (std::size_t back = 1; back <= 8; ++back) {
        std::string changed = bytes;
        changed[changed.size() - back] ^= 1;
        CHECK_THAT(refusal(changed, Compression::gzip), Catch::Contains("checksum or length"));
    }
}

TEST_CASE("formats are known by their first bytes", "[layers][compression]") {
    CHECK(sniff_compression(as_bytes("")) == Compression::none);
    CHECK(sniff_compression(as_bytes("\x1f")) == Compression::none);
    CHECK(sniff_compression(as_bytes("\x1f\x8b\x08")) == Compression::gzip);
    CHECK(sniff_compression(as_bytes("\x28\xb5\x2f\xfd")) == Compression::zstd);
    CHECK(sniff_compression(as_bytes("\x5a\x2a\x4d\x18")) == Compression::zstd);
    CHECK(sniff_compression(as_bytes("BZh9")) == Compression::bzip2);
    CHECK(sniff_compression(as_bytes("BZha")) == Compression::none);
    CHECK(sniff_compression(as_bytes(std::string_view("\xfd"
                                                      "7zXZ\0",
                                                      6))) == Compression::xz);
    CHECK(sniff_compression(as_bytes("PK\x03\x04")) == Compression::none);
    for (const Compression compression :
         {Compression::gzip, Compression::zstd, Compression::bzip2, Compression::xz}) {
        CHECK_THAT(refusal("this is no compressed data at all", compression),
                   Catch::Contains(std::string(to_string(compression)) + " data is damaged after byte"));
    }
}

TEST_CASE("a window that would need more than 128 MiB is refused", "[layers][compression]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("zstd"));
    const CommandResult result = run_command({"zstd", "-c", "--ultra", "--long=28"}, "some text");
    REQUIRE(result.status.ok());
    CHECK_THAT(refusal(result.output, Compression::zstd), Catch::Contains("requires too much memory"));
}

TEST_CASE("only what layers may be is written", "[layers][compression]") {
    StringSink sink;
    CHECK_THROWS_WITH(compress(sink, Compression::xz), Catch::Contains("cannot write xz"));
    const auto compressor = compress(sink, Compression::gzip);
    compressor->finish();
    CHECK_THROWS_WITH(compressor->write(as_bytes("x")), Catch::Contains("had been finished"));
    CHECK_THROWS_WITH(compressor->finish(), Catch::Contains("finished twice"));
}

TEST_CASE("a failure of the source is told as it is, not as damaged data", "[layers][compression]") {
    class Failing final : public ByteSource {
        std::size_t read(MutableByteSpan) override { throw Error(Errc::io, "the disk is on fire"); }
    };
    for (const Compression compression :
         {Compression::none, Compression::gzip, Compression::zstd, Compression::bzip2, Compression::xz}) {
        Failing source;
        const auto decompressor = decompress(source, compression);
        std::byte buffer[100];
        CHECK_THROWS_WITH(decompressor->read(buffer), "the disk is on fire");
    }
}
