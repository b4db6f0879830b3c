
; The zeros before a number's first one, for processors that lack the instruction. LLVM calls it by this name, which
; nothing else need define.

define weak hidden i32 @__clzsi2(i32 %a) nounwind "no-builtins" {
entry:
  %high16 = lshr i32 %a, 16
  %none16 = icmp eq i32 %high16, 0
  %rest16 = select i1 %none16, i32 %a, i32 %high16
  %count16 = select i1 %none16, i32 16, i32 0
  %high8 = lshr i32 %rest16, 8
  %none8 = icmp eq i32 %high8, 0
  %rest8 = select i1 %none8, i32 %rest16, i32 %high8
  %more8 = select i1 %none8, i32 8, i32 0
  %high4 = lshr i32 %rest8, 4
  %none4 = icmp eq i32 %high4, 0
  %rest4 = select i1 %none4, i32 %rest8, i32 %high4
  %more4 = select i1 %none4, i32 4, i32 0
  %high2 = lshr i32 %rest4, 2
  %none2 = icmp eq i32 %high2, 0
  %rest2 = select i1 %none2, i32 %rest4, i32 %high2
  %more2 = select i1 %none2, i32 2, i32 0
  %high1 = lshr i32 %rest2, 1
  %none1 = icmp eq i32 %high1, 0
  %rest1 = select i1 %none1, i32 %rest2, i32 %high1
  %more1 = select i1 %none1, i32 1, i32 0
  %more0 = xor i32 %rest1, 1
  %count8 = add i32 %count16, %more8
  %count4 = add i32 %count8, %more4
  %count2 = add i32 %count4, %more2
  %count1 = add i32 %count2, %more1
  %count = add i32 %count1, %more0
  ret i32 %count
}
