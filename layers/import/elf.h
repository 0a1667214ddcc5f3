#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace surcoat {

/// What the dynamic linker reads first in a program or a shared library. Spec: System V ABI (gABI), chapters
/// 4 and 5; ld.so(8).
struct ElfInfo {
    unsigned bits = 64;               ///< 32 or 64
    std::uint16_t machine = 0;        ///< e_machine: libraries of another machine are passed over
    std::string interpreter;          ///< PT_INTERP: the dynamic linker; "" for libraries and static programs
    std::vector<std::string> needed;  ///< DT_NEEDED, in order
    std::vector<std::string> rpath;   ///< DT_RPATH split at ':'; empty if there is a runpath
    std::vector<std::string> runpath;  ///< DT_RUNPATH split at ':'
};

/// Nothing if the file is not ELF in this machine's byte order. Throws Errc::corrupt, saying what points
/// outside the file, if it begins as ELF but is damaged; Errc::io. The descriptor's offset stays.
std::optional<ElfInfo> read_elf(int fd);

}  // namespace surcoat
