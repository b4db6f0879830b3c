; Weights that lie in a file or wherever the caller has them: checked, and found again through the workspace.

; A polynomial of words of 32 bits (`library.weights.checksum`).
define internal i32 @netc.checksum(ptr %data, {{size}} %words) noinline nounwind {
entry:
  br label %test
test:
  %i = phi {{size}} [ 0, %entry ], [ %next, %more ]
  %hash = phi i32 [ {{basis}}, %entry ], [ %sum, %more ]
  %again = icmp ult {{size}} %i, %words
  br i1 %again, label %more, label %done
more:
  %place = getelementptr i32, ptr %data, {{size}} %i
  %word = load i32, ptr %place, align 4
  %product = mul i32 %hash, {{prime}}
  %sum = add i32 %product, %word
  %next = add {{size}} %i, 1
  br label %test
done:
  ret i32 %hash
}

; A workspace whose weights were refused has none, even if it had some before: they may be what was overwritten.
define i32 @{{prefix}}_bind(ptr %workspace, ptr %weights, {{size}} %bytes) nounwind {
entry:
  %here = call i32 @netc.placed(ptr %workspace)
  %usable = icmp eq i32 %here, 0
  br i1 %usable, label %forget, label %misplaced
misplaced:
  ret i32 %here
forget:
  %mark = getelementptr i8, ptr %workspace, {{size}} 8
  store i64 0, ptr %mark, align 8
  %there = call i32 @netc.placed(ptr %weights)
  %fits = icmp eq i32 %there, 0
  br i1 %fits, label %length, label %unfit
unfit:
  ret i32 %there
length:
  %long = icmp eq {{size}} %bytes, {{file}}
  br i1 %long, label %names, label %size
size:
  ret i32 {{wrong_size}}
names:
  %magic = load i64, ptr %weights, align 8
  %known = icmp eq i64 %magic, {{magic}}
  %code.at = getelementptr i8, ptr %weights, {{size}} 8
  %code = load i64, ptr %code.at, align 8
  %ours = icmp eq i64 %code, {{code}}
  %right = and i1 %known, %ours
  br i1 %right, label %contents, label %foreign
foreign:
  ret i32 {{other_weights}}
contents:
  %sum.at = getelementptr i8, ptr %weights, {{size}} 24
  %sum = load i32, ptr %sum.at, align 4
  %payload = getelementptr i8, ptr %weights, {{size}} {{head}}
  %found = call i32 @netc.checksum(ptr %payload, {{size}} {{words}})
  %whole = icmp eq i32 %sum, %found
  br i1 %whole, label %bind, label %damaged
damaged:
  ret i32 {{damaged}}
bind:
  store ptr %payload, ptr %workspace, align 8
  store i64 {{code}}, ptr %mark, align 8
  %reset = getelementptr i8, ptr %workspace, {{size}} 16
  store i64 0, ptr %reset, align 8
  ret i32 0
}
