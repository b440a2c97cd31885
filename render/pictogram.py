"""Signs for kinds of goods: single-colour glyphs of Noto Emoji, found by words in a category's or product's name.

Health, intimate and gift categories have none on purpose: a picture must not say what was bought there.
"""

import re
from functools import lru_cache
from typing import Final

# The first line whose words occur in the text wins, so the narrower kinds stand before the wider ones.
_SIGNS: Final[tuple[tuple[str, str], ...]] = (
    ("🐶", "dog puppy puppies"),
    ("🐱", "cat kitten"),
    ("🐾", "pet pets"),
    ("🍼", "baby infant diapers diaper nursery"),
    ("🥣", "cereal oatmeal porridge brkfst breakfast yogurt yoghurt"),
    ("👟", "shoe shoes sneaker sneakers trainer trainers running footwear"),
    ("🧦", "sock socks hosiery"),
    ("👕", "apparel attire clothing shirt shirts tee sportswear"),
    ("👗", "dress dresses fashion"),
    ("🧥", "jacket jackets coat coats outerwear"),
    ("🎒", "bag backpack luggage"),
    ("⌚", "watch watches"),
    ("🍦", "sherbts sherbet sorbet ices novelties"),
    ("🍕", "pizza"),
    ("🍝", "pasta noodles spaghetti"),
    ("🍚", "rice"),
    ("🍲", "soup broth stew"),
    ("🌮", "hispanic mexican taco tacos tortilla"),
    ("🥛", "milk dairy"),
    ("🧀", "cheese cheeses"),
    ("🥚", "egg eggs"),
    ("🧈", "butter margarine margarines"),
    ("🍞", "bread breads buns rolls bakery dough"),
    ("🥐", "croissant pastry sweets"),
    ("🎂", "cake cakes"),
    ("🥧", "pie pies"),
    ("🍩", "donut donuts doughnut"),
    ("🍪", "cookie cookies crackers biscuit biscuits cones"),
    ("🍫", "chocolate"),
    ("🍬", "candy sweet confectionery"),
    ("🍿", "popcorn"),
    ("🥨", "snack snacks chips pretzel pretzels"),
    ("🥜", "nut nuts peanut pnt"),
    ("☕", "coffee espresso"),
    ("🍵", "tea teas"),
    ("🧃", "juice juices jce"),
    ("🥤", "soda soft drink drinks beverage isotonic carbonated"),
    ("💧", "water"),
    ("🍷", "wine wines"),
    ("🍺", "beer beers ale ales"),
    ("🐟", "fish seafood salmon tuna"),
    ("🍗", "chicken turkey poultry"),
    ("🌭", "hot dogs sausage sausages"),
    ("🥓", "bacon ham pork lunchmeat"),
    ("🥩", "beef meat meats steak lamb"),
    ("🥗", "salad salads sald lettuce"),
    ("🥔", "potato potatoes"),
    ("🍅", "tomato tomatoes"),
    ("🥕", "carrot carrots"),
    ("🌽", "corn"),
    ("🫘", "beans bean bn"),
    ("🍌", "banana bananas tropical"),
    ("🍇", "grape grapes"),
    ("🍓", "berry berries strawberry"),
    ("🍊", "citrus orange oranges"),
    ("🍎", "apple apples fruit fruits"),
    ("🥦", "vegetable vegetables veg produce organics broccoli"),
    ("🍯", "honey jam jams jelly syrup spread"),
    ("🧂", "spice spices salt seasoning extracts"),
    ("🥫", "can canned sauce sauces condiments shelf"),
    ("🧁", "baking mixes flour sugar dessert desserts"),
    ("🧻", "tissue tissues paper towel towels"),
    ("🧺", "laundry detergent detergents"),
    ("🧽", "dishwash cleaning cleang cleaner"),
    ("🧹", "broom brooms mops"),
    ("🧼", "soap bath"),
    ("🧴", "shampoo hair lotion"),
    ("🪥", "oral toothpaste"),
    ("🪒", "shaving razor"),
    ("💐", "floral flowers flower bouquet"),
    ("🪴", "plant plants garden lawn"),
    ("🧸", "toy toys"),
    ("🎮", "game games gaming"),
    ("📚", "book books bookstore magazine magazines"),
    ("✏", "stationery school office"),
    ("🔋", "battery batteries"),
    ("💡", "electrical electricl light bulbs lamp"),
    ("🔧", "hardware tool tools automotive"),
    ("🍳", "kitchen cookware bakeware gadgets"),
    ("🎧", "audio headphone headphones video music"),
    ("📷", "camera photo film"),
    ("📱", "phone phones wireless mobile"),
    ("💻", "laptop computer electronics"),
    ("🛋", "furniture sofa houseware housewares domestic"),
    ("🛏", "bed bedding mattress"),
    ("🏕", "camping outdoor outdoors"),
    ("🚲", "bike bicycle cycling"),
    ("⚽", "sport sports fitness gym ball"),
    ("🥡", "deli prepared dinner meal meals frozen frzn"),
    ("🛒", "grocery groceries"),
)
_UNSAID: Final = re.compile(
    r"\b(?:health|medic\w*|pharma\w*|vitamins?|flu|analgesics?|antacids?|allergy|laxatives?|diet\w*|feminine|intimate|"
    r"incontinence|contracept\w*|condoms?|family planning|first aid|prescription|gifts?|greeting)\b",
    re.IGNORECASE,
)
_BY_WORD: Final = {word: rank for rank, (_, words) in reversed(list(enumerate(_SIGNS))) for word in words.split()}


@lru_cache(maxsize=1024)
def pictogram(text: str) -> str:
    """Return the sign for a name, or "" where there is none or where none may be shown.

    A text that begins with a sign of its own, such as "🎁", keeps that one.
    """
    if not text or _UNSAID.search(text):
        return ""
    if ord(text[0]) > 0x2190 and not text[0].isalnum():
        return text[0]
    words = re.findall(r"[a-z]+", text.casefold())
    ranks = [_BY_WORD[word] for word in words if word in _BY_WORD]
    return _SIGNS[min(ranks)][0] if ranks else ""
