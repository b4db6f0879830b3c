
; Division of 32-bit numbers for processors that lack the instruction, bit by bit. LLVM calls it by these names (of
; Arm's run-time ABI), which nothing else need define. Quotient and rest lie in two registers, as in one 64-bit number.

define weak hidden i64 @__aeabi_uidivmod(i32 %a, i32 %b) nounwind "no-builtins" {
entry:
  br label %bit
bit:
  %left = phi i32 [ 32, %entry ], [ %less, %bit ]
  %number = phi i32 [ %a, %entry ], [ %next.number, %bit ]
  %rest = phi i32 [ 0, %entry ], [ %next.rest, %bit ]
  %first = lshr i32 %number, 31
  %lost = icmp slt i32 %rest, 0
  %doubled = shl i32 %rest, 1
  %grown = or i32 %doubled, %first
  %reached = icmp uge i32 %grown, %b
  %fits = or i1 %lost, %reached
  %reduced = sub i32 %grown, %b
  %next.rest = select i1 %fits, i32 %reduced, i32 %grown
  %moved = shl i32 %number, 1
  %digit = zext i1 %fits to i32
  %next.number = or i32 %moved, %digit
  %less = sub i32 %left, 1
  %again = icmp ne i32 %less, 0
  br i1 %again, label %bit, label %done
done:
  %quotient = zext i32 %next.number to i64
  %wide = zext i32 %next.rest to i64
  %placed = shl i64 %wide, 32
  %pair = or i64 %placed, %quotient
  ret i64 %pair
}

define weak hidden i32 @__aeabi_uidiv(i32 %a, i32 %b) nounwind "no-builtins" {
entry:
  %pair = call i64 @__aeabi_uidivmod(i32 %a, i32 %b)
  %quotient = trunc i64 %pair to i32
  ret i32 %quotient
}

; The quotient is rounded toward zero, and the rest has the dividend's sign.
define weak hidden i64 @__aeabi_idivmod(i32 %a, i32 %b) nounwind "no-builtins" {
entry:
  %a.size = call i32 @llvm.abs.i32(i32 %a, i1 false)
  %b.size = call i32 @llvm.abs.i32(i32 %b, i1 false)
  %pair = call i64 @__aeabi_uidivmod(i32 %a.size, i32 %b.size)
  %quotient = trunc i64 %pair to i32
  %moved = lshr i64 %pair, 32
  %rest = trunc i64 %moved to i32
  %signs = xor i32 %a, %b
  %sign = ashr i32 %signs, 31
  %quotient.flipped = xor i32 %quotient, %sign
  %quotient.signed = sub i32 %quotient.flipped, %sign
  %a.sign = ashr i32 %a, 31
  %rest.flipped = xor i32 %rest, %a.sign
  %rest.signed = sub i32 %rest.flipped, %a.sign
  %low = zext i32 %quotient.signed to i64
  %wide = zext i32 %rest.signed to i64
  %placed = shl i64 %wide, 32
  %both = or i64 %placed, %low
  ret i64 %both
}

define weak hidden i32 @__aeabi_idiv(i32 %a, i32 %b) nounwind "no-builtins" {
entry:
  %pair = call i64 @__aeabi_idivmod(i32 %a, i32 %b)
  %quotient = trunc i64 %pair to i32
  ret i32 %quotient
}
