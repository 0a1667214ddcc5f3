#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "layers/entry.h"

/// EROFS on disk, as far as our images use it: the common ground of erofs_writer.cc and erofs_reader.cc.
/// Source: Linux, fs/erofs/erofs_fs.h (layout as of 5.15 and unchanged since for these features).
///
///     block 0      1,024 bytes of nothing, the superblock (128 bytes), nothing
///     block 1 …    inodes, each at a multiple of 32 bytes: 64 bytes, attributes, then what is inline:
///                  a symlink's target, the last block of a directory, or a file's chunk table
///     then         the other blocks of directories, in the order of their inodes
///
/// An inode's number ("nid") is its offset / 32 (the metadata starts at block 0). Inline data never crosses a
/// block. All numbers are little-endian.
///
/// Superblock                        | Inode (extended form)            | Directory entry
///  0  magic                     u32 |  0  format                   u16 |  0  nid                     u64
///  4  checksum                  u32 |  2  size of attributes       u16 |  8  name offset in block    u16
///  8  compatible features       u32 |  4  mode                     u16 | 10  type                     u8
/// 12  block bits                 u8 |  8  size                     u64 | 11  reserved                 u8
/// 14  root nid                  u16 | 16  block, device number or  u32 |
/// 16  how many inodes           u64 |     chunk format                 | Attributes
/// 24  newest mtime, seconds     u64 | 20  number for 32-bit stat   u32 |  0  filter (unused)         u32
/// 32  newest mtime, nanoseconds u32 | 24  uid                      u32 |  4  shared ones (none)       u8
/// 36  how many blocks           u32 | 28  gid                      u32 | 12  entries, at multiples of 4:
/// 40  block of the metadata     u32 | 32  mtime, seconds           u64 |      0  name size            u8
/// 48  uuid                 16 bytes | 40  mtime, nanoseconds       u32 |      1  prefix of the name   u8
/// 64  volume name          16 bytes | 44  links                    u32 |      2  value size          u16
/// 80  incompatible features     u32 | 48  reserved            16 bytes |      4  name, value
///
/// A block of a directory is its entries, sorted by name ("." and ".." among them), then the names without
/// terminators: the first name's offset / 12 is how many there are. A file's chunk table is one u32 a chunk,
/// ~0 for a hole.
namespace surcoat::erofs {

constexpr std::uint32_t kMagic = 0xE0F5E1E2;
constexpr std::size_t kSuperOffset = 1024;
constexpr unsigned kBlockBits = 12;
constexpr std::size_t kBlock = std::size_t{1} << kBlockBits;
constexpr std::size_t kSlot = 32;
constexpr std::uint32_t kCompatible = 0x1 | 0x2;  // superblock checksum; mtime is the time inodes carry
constexpr std::uint32_t kIncompatible = 0x4;      // files of chunks
constexpr std::size_t kInodeSize = 64;
constexpr std::size_t kDirentSize = 12;
constexpr std::size_t kAttributesHeader = 12;
constexpr std::size_t kAttributeHeader = 4;
constexpr unsigned kMaxChunkBits = 31;  // of a chunk, in blocks
/// readlink(2) and path walks stop at a page.
constexpr std::size_t kMaxLinkTarget = 4095;

/// Inode format: extended, with the data's layout in bits 1-3.
constexpr std::uint16_t kPlain = 0x1 | 0 << 1;
constexpr std::uint16_t kInline = 0x1 | 2 << 1;
constexpr std::uint16_t kChunks = 0x1 | 4 << 1;

/// What stands for the beginning of an attribute's name. The two ACLs are whole names.
struct AttributePrefix {
    std::uint8_t index;
    std::string_view text;
};
constexpr AttributePrefix kPrefixes[] = {
    {1, "user."},     {2, "system.posix_acl_access"}, {3, "system.posix_acl_default"}, {4, "trusted."},
    {6, "security."},
};
constexpr std::string_view kMetacopy = "trusted.overlay.metacopy";
constexpr std::string_view kRedirect = "trusted.overlay.redirect";

template <typename T>
void put(char* at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        at[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}
template <typename T>
T get(const char* at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value |= std::uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
    return static_cast<T>(value);
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
    return (value + to - 1) / to * to;
}

/// The file type bits of st_mode, which no header of the C++ library has to give alike on every system.
constexpr std::uint16_t mode_bits(FileType type) {
    switch (type) {
        case FileType::regular:
            return 0100000;
        case FileType::directory:
            return 0040000;
        case FileType::symlink:
            return 0120000;
        case FileType::char_device:
            return 0020000;
        case FileType::block_device:
            return 0060000;
        case FileType::fifo:
            return 0010000;
    }
    return 0;
}
/// A directory entry's type (the kernel's FT_*).
constexpr std::uint8_t dirent_type(FileType type) {
    switch (type) {
        case FileType::regular:
            return 1;
        case FileType::directory:
            return 2;
        case FileType::char_device:
            return 3;
        case FileType::block_device:
            return 4;
        case FileType::fifo:
            return 5;
        case FileType::symlink:
            return 7;
    }
    return 0;
}

/// Device numbers in the kernel's 32 bits (new_encode_dev): 12 of major, 20 of minor.
constexpr std::uint32_t encode_device(std::uint32_t major, std::uint32_t minor) {
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFFu) << 12);
}
constexpr std::uint32_t device_major(std::uint32_t device) {
    return (device >> 8) & 0xFFF;
}
constexpr std::uint32_t device_minor(std::uint32_t device) {
    return (device & 0xFF) | ((device >> 12) & 0xFFF00);
}

/// How large a file's chunks are, in bits above a block's: one chunk covers the file, up to 8 TiB.
constexpr unsigned chunk_bits(std::uint64_t size) {
    unsigned bits = 0;
    while (bits < kMaxChunkBits && (size >> (kBlockBits + bits)) != 0) ++bits;
    return bits;
}
constexpr std::uint64_t chunk_count(std::uint64_t size) {
    const std::uint64_t chunk = std::uint64_t{1} << (kBlockBits + chunk_bits(size));
    return size / chunk + (size % chunk != 0 ? 1 : 0);
}

/// CRC-32C of block 0 from the superblock on, its checksum field zero; the kernel neither inverts the end.
inline std::uint32_t checksum(const char* block0) {
    std::uint32_t crc = 0xFFFFFFFF;
    for (std::size_t i = kSuperOffset; i < kBlock; ++i) {
        const bool own = i >= kSuperOffset + 4 && i < kSuperOffset + 8;
        crc ^= own ? 0u : static_cast<unsigned char>(block0[i]);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    }
    return crc;
}

}  // namespace surcoat::erofs
