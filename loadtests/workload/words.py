"""Common English words, each one token of its own, with and without a space before it, in usual BPE vocabularies.

Checked against the tokenizers of SmolLM2 and Qwen2.5: made-up prompts can so be as long as was asked, without one.
"""

from typing import Final

_TEXT: Final = """
above action actual address adult after again against agency agent agree ahead air allow almost alone along already
also always among amount animal another any apply area arm around article attention author available average avoid
away baby bad ball bank base basic beat because before begin behavior best better between bill bit blue board born
both box break bridge budget build building buy call capital card care case cell center central chair character
charge child choose city class close cold college color come community company compare computer consider continue
country court cover create culture cup customer cut dark daughter deep defense degree design detail development
difference direction doctor dog door down drop during each easy eat economic edge education effect eight either
energy enter environment especially establish event ever expect experience expert eye face fact fail fall family
fast father feel fill film find fine finger finish firm fish five focus follow food force forget form former forward
free friend full fund future game general generation girl give glass global goal government group hair hand happy
hard heart heat heavy help here high him hold home hospital house human idea impact important include individual
industry information inside instead international item job join just keep key kid kind know knowledge land last late
later law lay lead learn least leave left less letter level life light like likely line list listen little live
local loss lot love low main man management manager many material matter may maybe mean measure media member memory
message method middle miss mission model moment month more mouth movement movie much music must natural nature
necessary need never new news next night none nor north note nothing now number office official often oil old once
one only operation option order other others out outside owner page paper parent part party past patient pattern pay
peace people per perform period person phone physical pick place plan plant play player point policy popular
population positive possible power prepare pretty prevent price private probably process professional program
project property public put quality question quite race radio raise range rather ready real reason receive red
reduce region relationship remember remove report represent require research resource respond response rest return
rich right rise risk road rock role room rule safe same save scene school science score season seat second section
see seek sell send sense series service short should sign significant similar simple since size skill small social
someone something sometimes son sound source south space specific stage stand standard star start state step still
stock store story street strong structure student style subject success suggest summer support surface talk task tax
team technology tell ten term test than thank their them then they thing third this those thought three thus today
too total town trade traditional training travel tree trial trip truth try under unit until upon use usually very
view voice vote watch water week well west western when whether while whole wife will win wind window within without
woman word work worker world write writer wrong yard year yes yet young
"""
WORDS: Final = tuple(_TEXT.split())
