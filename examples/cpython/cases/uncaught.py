def divide(number, by):
    return number / by


print("before")
divide(1, 0)
