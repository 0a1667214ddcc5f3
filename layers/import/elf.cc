#include "layers/import/elf.h"

#include <elf.h>
#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <string_view>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat {
namespace {

constexpr std::size_t kMaxHeaders = 4096;
constexpr std::size_t kMaxDynamicBytes = 1 << 20;
constexpr std::size_t kMaxString = 4096;  // PATH_MAX; names and paths are all that is read

[[noreturn]] void damaged(const std::string& what) {
    throw Error(Errc::corrupt, fmt::format("damaged ELF file: {}", what));
}

void read_at(int fd, void* into, std::size_t size, std::uint64_t offset, const char* what) {
    if (offset > std::uint64_t{1} << 62 ||
        pread_full(fd, MutableByteSpan(static_cast<std::byte*>(into), size), offset) != size) {
        damaged(fmt::format("{} at offset {} lies outside the file", what, offset));
    }
}

std::string string_at(int fd, std::uint64_t offset, std::uint64_t room, const char* what) {
    char text[kMaxString];
    if (room == 0 || offset > std::uint64_t{1} << 62) damaged(fmt::format("{} lies outside its table", what));
    const std::size_t want = room < sizeof text ? static_cast<std::size_t>(room) : sizeof text;
    const std::size_t got = pread_full(fd, std::as_writable_bytes(std::span(text, want)), offset);
    const void* end = std::memchr(text, 0, got);
    if (end == nullptr) damaged(fmt::format("{} does not end", what));
    return std::string(text, static_cast<std::size_t>(static_cast<const char*>(end) - text));
}

std::vector<std::string> split_path(std::string_view list) {
    std::vector<std::string> parts;
    while (!list.empty()) {
        const std::size_t colon = list.find(':');
        if (colon != 0) parts.emplace_back(list.substr(0, colon));
        if (colon == std::string_view::npos) break;
        list.remove_prefix(colon + 1);
    }
    return parts;
}

struct Elf32 {
    using Header = Elf32_Ehdr;
    using Program = Elf32_Phdr;
    using Dynamic = Elf32_Dyn;
    static constexpr unsigned kBits = 32;
};
struct Elf64 {
    using Header = Elf64_Ehdr;
    using Program = Elf64_Phdr;
    using Dynamic = Elf64_Dyn;
    static constexpr unsigned kBits = 64;
};

template <typename Elf>
ElfInfo read_as(int fd) {
    typename Elf::Header header;
    read_at(fd, &header, sizeof header, 0, "the header");
    ElfInfo info;
    info.bits = Elf::kBits;
    info.machine = header.e_machine;
    if (header.e_phnum == 0) return info;  // an object file
    if (header.e_phentsize != sizeof(typename Elf::Program) || header.e_phnum > kMaxHeaders) {
        damaged(fmt::format("{} program headers of {} bytes", header.e_phnum, header.e_phentsize));
    }
    std::vector<typename Elf::Program> programs(header.e_phnum);
    read_at(fd, programs.data(), programs.size() * sizeof programs[0], header.e_phoff, "the program headers");

    const typename Elf::Program* dynamic_segment = nullptr;
    for (const auto& program : programs) {
        if (program.p_type == PT_INTERP) {
            info.interpreter = string_at(fd, program.p_offset, program.p_filesz, "the interpreter's name");
        }
        if (program.p_type == PT_DYNAMIC) dynamic_segment = &program;
    }
    if (dynamic_segment == nullptr || dynamic_segment->p_filesz == 0)
        return info;  // static, or stripped for debugging
    if (dynamic_segment->p_filesz > kMaxDynamicBytes) damaged("the dynamic section is absurdly long");

    std::vector<typename Elf::Dynamic> dynamic(dynamic_segment->p_filesz / sizeof(typename Elf::Dynamic));
    read_at(fd, dynamic.data(), dynamic.size() * sizeof dynamic[0], dynamic_segment->p_offset,
            "the dynamic section");
    std::uint64_t table_address = 0;
    std::uint64_t table_size = 0;
    for (const auto& item : dynamic) {
        if (item.d_tag == DT_NULL) break;
        if (item.d_tag == DT_STRTAB) table_address = item.d_un.d_ptr;
        if (item.d_tag == DT_STRSZ) table_size = item.d_un.d_val;
    }
    std::optional<std::uint64_t> table_offset;
    for (const auto& program : programs) {
        if (program.p_type != PT_LOAD || table_address < program.p_vaddr) continue;
        const std::uint64_t within = table_address - program.p_vaddr;
        if (within < program.p_filesz) table_offset = program.p_offset + within;
    }
    const auto string_of = [&](std::uint64_t at, const char* what) {
        if (!table_offset) damaged("its string table is in no segment");
        if (at >= table_size) damaged(fmt::format("{} lies outside its table", what));
        return string_at(fd, *table_offset + at, table_size - at, what);
    };
    for (const auto& item : dynamic) {
        if (item.d_tag == DT_NULL) break;
        if (item.d_tag == DT_NEEDED)
            info.needed.push_back(string_of(item.d_un.d_val, "the name of a library"));
        if (item.d_tag == DT_RPATH) info.rpath = split_path(string_of(item.d_un.d_val, "RPATH"));
        if (item.d_tag == DT_RUNPATH) info.runpath = split_path(string_of(item.d_un.d_val, "RUNPATH"));
    }
    if (!info.runpath.empty()) info.rpath.clear();
    return info;
}

}  // namespace

std::optional<ElfInfo> read_elf(int fd) {
    unsigned char identity[EI_NIDENT];
    if (pread_full(fd, std::as_writable_bytes(std::span(identity)), 0) != sizeof identity)
        return std::nullopt;
    if (std::memcmp(identity, ELFMAG, SELFMAG) != 0) return std::nullopt;
    constexpr unsigned char kOurOrder =
        std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
    if (identity[EI_DATA] != kOurOrder) return std::nullopt;
    if (identity[EI_CLASS] == ELFCLASS64) return read_as<Elf64>(fd);
    if (identity[EI_CLASS] == ELFCLASS32) return read_as<Elf32>(fd);
    return std::nullopt;
}

}  // namespace surcoat
